"""How fast is it, beside a loop written by hand and beside other clients? `python -m benchmarks` answers.

`fixtures` are the inputs, `server` sends them, `contestants` and `clients` read them, `fanouts` ask for many at once.
`measure` times them in turns; `together`, `alone`, `vectors`, `fanouts`, `relaying`, `frames`, `refusals`, `weather`
are the cases; `report` shows what was found. `children` starts every process beside this one: the servers, `relays` and
`harm` too. `fleet` is of simulated processes.
`guard` counts instructions instead of seconds.
"""

from pathlib import Path

# Where `python -m benchmarks` runs.
ROOT = Path(__file__).parents[1]

# The contestants that others are measured by.
UNIT = "unit"
RAW = "raw sockets"
OURS = "siliconflow-async"
