"""What the cases `relay` and `left` need: an upstream, relays, clients, each kind in a process of its own.

`upstream` sends paced tokens and says when it is left, `ours` and `plain` are the relays, which `process` runs under
uvicorn, `clients` read from them, `children` starts the processes and talks to them.
"""
