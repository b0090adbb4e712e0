"""A program: ask for the rows that stdin describes, and print what became of them.

stdin is JSON: `address` of the cluster, `rows`, and the keywords of `ask`. stdout has a line of JSON for each row; a
clear error is the last line of stderr, with exit code 2.
"""

from __future__ import annotations

import json
import sys

import ray.data

from siliconflow_async import SiliconFlowError
from siliconflow_async.integrations.ray import ask
from siliconflow_async.integrations.ray.cluster import join_cluster

given = json.load(sys.stdin)
join_cluster(given["address"])
dataset = ray.data.from_items(given["rows"], override_num_blocks=given["blocks"])
try:
    answered = ask(dataset, **given["ask"])
    for _ in range(given["times"]):
        rows = answered.take_all()
        for row in rows:
            print(json.dumps(row))
except SiliconFlowError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
finally:
    ray.shutdown()
