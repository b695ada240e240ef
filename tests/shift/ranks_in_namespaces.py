"""Run by ``test_namespaces`` under ``unshare -rn``: two ranks in two network namespaces, joined by a veth pair.

Usage: ranks_in_namespaces.py FOLDER, which gets ``expected.json``, ``0.json`` and ``1.json``.
"""

import json
import os
import subprocess
import sys

import torch
from ranks_at_work import estimate, loaders, outcome, shard, summary

ENDS, ADDRESSES = ("left", "right"), ("192.0.2.1", "192.0.2.2")  # of the cable (a veth pair), RFC 5737
PORT = 29500


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def connect(rank: int) -> None:
    ip("link", "set", "lo", "up")  # the way of a process to its own address
    ip("address", "add", f"{ADDRESSES[rank]}/24", "dev", ENDS[rank])
    ip("link", "set", ENDS[rank], "up")
    os.environ["GLOO_SOCKET_IFNAME"] = ENDS[rank]


def interfaces() -> list[str]:
    found = subprocess.run(["ip", "-json", "link"], check=True, capture_output=True, text=True).stdout
    return sorted(link["ifname"] for link in json.loads(found) if link["ifname"] in ENDS)


def work(folder: str, rank: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://{ADDRESSES[0]}:{PORT}", rank=rank, world_size=2
    )
    found = {
        order: outcome(lambda order=order: summary(estimate(shard(loaders(), order=order), group="world")))
        for order in ("contiguous", "strided")
    }
    found["interfaces"] = {"value": interfaces()}
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(found, file)
    torch.distributed.barrier()  # the store is rank 0's
    torch.distributed.destroy_process_group()


def main(folder: str) -> None:
    """Rank 0, and what starts rank 1 in a further namespace."""
    other = subprocess.Popen(
        ["unshare", "-n", sys.executable, __file__, folder, "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "in its namespace\n"
        ip("link", "add", ENDS[0], "type", "veth", "peer", "name", ENDS[1])
        ip("link", "set", ENDS[1], "netns", str(other.pid))
        connect(0)
        other.stdin.write("connected\n")
        other.stdin.close()
        torch.set_num_threads(1)
        with open(f"{folder}/expected.json", "w") as file:
            json.dump(outcome(lambda: summary(estimate(loaders()))), file)
        work(folder, 0)
        assert other.wait(300) == 0
    finally:
        other.kill()
        other.wait()


if __name__ == "__main__":
    if sys.argv[2:] == ["1"]:
        print("in its namespace", flush=True)
        assert sys.stdin.readline() == "connected\n"
        connect(1)
        work(sys.argv[1], 1)
    else:
        main(sys.argv[1])
