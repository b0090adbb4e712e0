"""How fast is it, beside a loop written by hand and beside other clients? `python -m benchmarks` answers.

`fixtures` are the inputs, `server` sends them from a process of its own, `contestants` read them, `measure` times the
contestants in turns, `cases` says what is timed, `report` prints it. `alone` measures in a process of its own, by
`flow`, `asking`, `resident` or `long_run`; `relaying` holds the processes of the cases that relay, `fanouts` the ways
of asking many at once, `limited` a service that keeps limits. `plot` draws a figure from the results, `guard` counts
instructions instead of seconds.
"""

from pathlib import Path

# Where `python -m benchmarks` runs.
ROOT = Path(__file__).parents[1]
