"""uvloop for every loop that is made in this process: imported by conftest, and by each program that a test starts.

Not by `loop_factory` or a policy: tests say `asyncio.run(…)` as users do, and Python 3.14 warns of policies.
"""

import asyncio

import uvloop

asyncio.new_event_loop = asyncio.events.new_event_loop = uvloop.new_event_loop
