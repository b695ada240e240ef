"""Two ranks in two network namespaces, as on two machines: what they report is what one process reports."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from absent import skip_without

WORKER = Path(__file__).parent / "ranks_in_namespaces.py"


@pytest.mark.jit
def test_two_namespaces_report_what_one_process_does(tmp_path: Path) -> None:
    for command, package in (("unshare", "util-linux"), ("ip", "iproute2")):
        if shutil.which(command) is None:
            skip_without(f"command {command}", package)
    add = ["ip", "link", "add", "left", "type", "veth", "peer", "name", "right"]
    tried = subprocess.run(["unshare", "-rn", *add], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"the kernel refuses a veth pair in a network namespace: {tried.stderr.strip()}")
    run = subprocess.run(
        ["unshare", "-rn", sys.executable, str(WORKER), str(tmp_path)],
        capture_output=True, text=True, timeout=550, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    expected = json.loads((tmp_path / "expected.json").read_text())["value"]
    for rank, end in enumerate(("left", "right")):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["interfaces"]["value"] == [end]  # the other end is in the other namespace
        for order in ("contiguous", "strided"):
            assert "value" in found[order], found[order]
            assert found[order]["value"]["exact"] == expected["exact"]
            assert found[order]["value"]["close"] == pytest.approx(expected["close"], rel=1e-8, abs=1e-12)
