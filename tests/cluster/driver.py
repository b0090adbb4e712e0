"""A program: ask for the rows that stdin describes, and print what became of them.

stdin is JSON: `address` of the cluster, and `cases`, each with its `rows` in so many `blocks`, the keywords of `ask`
(`limits` are those of a RayLimits), and how many `times` to read it all. stdout has a line of JSON for each row, or for
what was raised.
"""

from __future__ import annotations

import json
import sys

import ray.data

from siliconflow_async import Limit, SiliconFlowError
from siliconflow_async.integrations.ray import RayLimits, ask
from siliconflow_async.integrations.ray.cluster import join_cluster

given = json.load(sys.stdin)
join_cluster(given["address"])
for case in given["cases"]:
    try:
        if (limits := case["ask"].pop("limits", None)) is not None:
            case["ask"]["limits"] = RayLimits(Limit(**limits), account="tests")
        dataset = ray.data.from_items(case["rows"], override_num_blocks=case["blocks"])
        answered = ask(dataset, **case["ask"])
        for _ in range(case["times"]):
            for row in answered.take_all():
                print(json.dumps(row))
    except SiliconFlowError as error:
        print(json.dumps({"raised": type(error).__name__, "words": str(error)}))
ray.shutdown()
