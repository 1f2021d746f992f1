"""``bin/start``: three nodes on 127.0.0.1:8081-8083, their data kept from one start to the next."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from contrib.cluster import Cluster, Node
from contrib.running import run_cluster, say

PORTS = (8081, 8082, 8083)


def _formed(cluster: Cluster, took: float) -> None:
    for server in cluster.servers:
        say(f"node {server.node_id}  http://{server.address}  ws://{server.address}/uring")
    say(f"\nA cluster of {len(cluster.servers)} nodes, formed in {took:.1f} s.  Try:\n")
    say(f'  curl -X POST -d \'{{"value":"boop"}}\' http://127.0.0.1:{PORTS[0]}/kv/beep')
    say(f"  curl http://127.0.0.1:{PORTS[1]}/kv/beep")
    say(
        f'  echo \'{{"As":{{"protocol":"KV","cmd":{{"Get":{{"rid":1,"key":"beep"}}}}}}}}\''
        f" | websocat -n1 ws://127.0.0.1:{PORTS[2]}/uring"
    )
    say(f"\nData and logs are in {cluster.directory}.  Ctrl-C stops the nodes.")


def main(directory: str) -> None:
    """Run the cluster in ``directory``."""

    def make(reactor: Any) -> Cluster:
        nodes = [Node(port, number, number == 1) for number, port in enumerate(PORTS, 1)]
        return Cluster(nodes, Path(directory), reactor=reactor)

    run_cluster(make, wipe=False, any_key=False, formed=_formed)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data")
