"""A program: a Ray cluster of three nodes on loopback. It prints its address, and a line for each node that it adds.

Each line of stdin adds a node; the end of stdin ends it all.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

STORE = 100 * 1024 * 1024

# The head takes no work, so that any node that does may be killed. Those of 127.0.0.1 would get an address of outside.
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.2", "object_store_memory": STORE}
)
last = 2


def add() -> None:
    global last
    last += 1
    cluster.add_node(num_cpus=2, node_ip_address=f"127.0.0.{last}", object_store_memory=STORE)


add()
add()
print(cluster.address, flush=True)
for _ in sys.stdin:
    add()
    print("added", flush=True)
cluster.shutdown()
