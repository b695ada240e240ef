"""Powercap trees of every shape: right total, right status, right flag."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from energy_fakes import DRAM_RANGE, RANGE, Tree

from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.reporting.results import Window
from hitl_fast.energy.sensors import rapl


def used(tree: Tree, steps: dict[str, tuple[int, int]]) -> tuple[Window, EnergyMeter]:
    """A window in which each zone goes from one value to another."""
    for place, (before, _) in steps.items():
        tree.set(place, before)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none")
    with meter:
        with meter.window("w"):
            for place, (_, after) in steps.items():
                tree.set(place, after)
        result = meter.windows[0]
    return result, meter


def test_one_socket(tree: Tree) -> None:
    tree.socket(0)
    steps = {
        "intel-rapl:0": (100, 5_000_100),
        "intel-rapl:0:0": (7, 1_000_007),
        "intel-rapl:0:1": (9, 3_000_009),
    }
    result, meter = used(tree, steps)
    assert result.counted_microjoules == {"package-0": 5_000_000, "dram-0": 1_000_000, "core-0": 3_000_000}
    assert result.total_joules == 6.0  # the core is in the package
    assert {name: d.status for name, d in meter.domains.items()} == {
        "package-0": "measured", "dram-0": "measured", "core-0": "measured",
    }  # fmt: skip
    assert [d.in_total for d in meter.domains.values()] == [True, True, False]


def test_two_sockets_that_wrap(tree: Tree) -> None:
    tree.socket(0)
    tree.socket(1)
    steps = {
        "intel-rapl:0": (RANGE - 999_999, 2_000_000),
        "intel-rapl:1": (5, 4_000_005),
        "intel-rapl:0:0": (DRAM_RANGE, 1_999_999),
        "intel-rapl:1:0": (1, 1_000_001),
    }
    result, _ = used(tree, steps)
    assert result.counted_microjoules["package-0"] == 3_000_000
    assert result.counted_microjoules["dram-0"] == 2_000_000
    assert result.total_joules == 10.0
    assert "wrap" in result.flags
    assert "wrap" in result.domain_flags["package-0"]
    assert "wrap" not in result.domain_flags["package-1"]


def test_step_back_by_far_more_than_a_wrap_could_be_does_not_count(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1)
    result, _ = used(tree, {"intel-rapl:0": (2_000_000, 1_000_000)})
    assert "glitch" in result.flags
    assert result.total_joules is not None
    assert result.total_joules <= 10
    assert result.uncertainty_joules


def test_locked_package_makes_totals_partial(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.socket(0)
    tree.socket(1)
    real = rapl.CounterFile

    def locked(path: str) -> rapl.CounterFile:
        if "rapl:1" in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(rapl, "CounterFile", locked)
    result, meter = used(tree, {"intel-rapl:0": (1, 1_000_001)})
    assert result.total_joules == 1.0
    assert "partial" in result.flags
    assert meter.domains["package-1"].missing
    assert not meter.domains["core-1"].missing  # the package has it


def test_mirrors_and_other_ranks_do_not_make_totals_partial(tree: Tree) -> None:
    tree.socket(0)
    tree.zone("intel-rapl-mmio:0", "package-0", 999)
    result, _ = used(tree, {"intel-rapl:0": (1, 1_000_001)})
    assert "partial" not in result.flags


def test_psys_and_uncore_are_told_but_not_in_the_total(tree: Tree) -> None:
    tree.socket(0)
    tree.zone("intel-rapl:0:2", "uncore", 1)
    tree.zone("intel-rapl:1", "psys", 1)
    steps = {"intel-rapl:0": (1, 2_000_001), "intel-rapl:0:2": (1, 500_001), "intel-rapl:1": (1, 9_000_001)}
    result, _ = used(tree, steps)
    assert result.joules is not None
    assert {"uncore-0", "psys"} <= result.joules.keys()
    assert result.total_joules == 2.0


def test_only_psys_gives_no_total(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "psys", 1)
    result, _ = used(tree, {"intel-rapl:0": (1, 9_000_001)})
    assert result.joules == {"psys": 9.0}
    assert result.total_joules is None


def test_dies_are_counted_each(tree: Tree) -> None:
    for die in (0, 1):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 1000 * (die + 1))
        tree.zone(f"intel-rapl:{die}:0", "dram", 70 * (die + 1), DRAM_RANGE)
    steps = {
        "intel-rapl:0": (1000, 1_001_000),
        "intel-rapl:1": (2000, 3_002_000),
        "intel-rapl:1:0": (140, 500_140),
    }
    result, _ = used(tree, steps)
    assert result.counted_microjoules["package-0-die-1"] == 3_000_000
    assert result.counted_microjoules["dram-0-die-1"] == 500_000
    assert result.total_joules == 4.5


def test_dies_that_mirror_the_socket_count_once(tree: Tree) -> None:
    for die in (0, 1, 2):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 123_456)
    tree.zone("intel-rapl:3", "package-1-die-0", 123_456)  # of another socket: equal by chance only
    steps = {f"intel-rapl:{die}": (123_456, 1_123_456) for die in range(4)}
    result, meter = used(tree, steps)
    assert result.total_joules == 2.0
    assert meter.domains["package-0-die-2"].status == "unavailable"
    assert "whole socket, as package-0-die-0 does" in meter.domains["package-0-die-2"].reason


def test_dies_that_are_still_at_zero_are_kept(tree: Tree) -> None:
    for die in (0, 1):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 0)
    result, _ = used(tree, {"intel-rapl:0": (0, 1_000_000), "intel-rapl:1": (0, 2_000_000)})
    assert result.total_joules == 3.0


def test_mmio_mirror_is_dropped(tree: Tree) -> None:
    tree.socket(0)
    tree.zone("intel-rapl-mmio:0", "package-0", 999)
    result, meter = used(tree, {"intel-rapl:0": (1, 1_000_001), "intel-rapl-mmio:0": (1, 1_000_001)})
    assert result.total_joules == 1.0
    assert meter.domains["package-0-mirror"].status == "unavailable"
    assert "the same counter as package-0" in meter.domains["package-0-mirror"].reason


def test_mmio_counts_where_there_is_nothing_else(tree: Tree) -> None:
    tree.zone("intel-rapl-mmio:0", "package-0", 999)
    result, _ = used(tree, {"intel-rapl-mmio:0": (1, 1_000_001)})
    assert result.total_joules == 1.0


def test_nested_folders_with_links_count_once(tree: Tree) -> None:
    """As in /sys/class/powercap: zones lie in their parents, and a link to each beside them."""
    tree.zone("intel-rapl/intel-rapl:0", "package-0", 1)
    tree.zone("intel-rapl/intel-rapl:0/intel-rapl:0:0", "dram", 1, DRAM_RANGE)
    for name in ("intel-rapl:0", "intel-rapl:0/intel-rapl:0:0"):
        (tree.root / os.path.basename(name)).symlink_to(tree.root / "intel-rapl" / name)
    zones, others = rapl.discover(str(tree.root))
    assert [zone.domain.name for zone in zones] == ["package-0", "dram-0"]
    assert not others


def test_missing_range_leaves_a_wrap_out_and_flags_it(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1, top=None)
    result, meter = used(tree, {"intel-rapl:0": (3_000_000_000, 10_000)})
    assert result.joules == {"package-0": 0.0}  # not -4 kJ; what was used meanwhile is in the uncertainty
    assert result.flags[0] == "gap"
    assert result.uncertainty_joules
    assert "range is unreadable" in meter.domains["package-0"].reason
    forward, _ = used(tree, {"intel-rapl:0": (10_000, 1_010_000)})
    assert forward.total_joules == 1.0


def test_unreadable_counter_names_the_command(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is made here."""
    tree.socket(0)
    tree.socket(1)
    real = os.open

    def refuse(path: str, *arguments: int, **options: int) -> int:
        if "energy_uj" in str(path) and "rapl:1" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    result, meter = used(tree, {"intel-rapl:0": (1, 1_000_001)})
    assert result.total_joules == 1.0
    domain = meter.domains["package-1"]
    assert domain.status == "unavailable"
    assert "CVE-2020-8694" in domain.reason
    files = [f"{tree.root}/intel-rapl:1{zone}/energy_uj" for zone in ("", ":0", ":1")]
    assert domain.fix == "sudo chmod a+r " + " ".join(files)
    assert domain.fix in str(meter.report())


@pytest.mark.parametrize("content", ["", "none\n"])
def test_counter_without_a_number_is_unavailable(content: str, tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1)
    tree.files["intel-rapl:0"].write_text(content)
    zones, (domain,) = rapl.discover(str(tree.root))
    assert not zones
    assert domain.reason.startswith("reading its counter failed")


def test_zone_without_a_name_is_of_kind_other(tree: Tree) -> None:
    folder = tree.zone("intel-rapl:0", "package-0", 1)
    (folder / "name").unlink()
    tree.zone("intel-rapl:0:0", "dram", 5)
    zones, _ = rapl.discover(str(tree.root))
    assert [(z.domain.name, z.domain.kind) for z in zones] == [
        ("intel-rapl:0-0", "other"),
        ("dram-0", "dram"),
    ]


@pytest.mark.parametrize(
    ("surroundings", "why"),
    [("container", "-v /sys/devices/virtual/powercap"), ("virtual", "virtual machine"), ("bare", "modprobe")],
)
def test_nothing_there_says_why(
    surroundings: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu vme" + (" hypervisor" if surroundings == "virtual" else "") + "\n")
    real = open
    monkeypatch.setattr(os.path, "exists", lambda path: surroundings == "container" and path == "/.dockerenv")
    monkeypatch.setattr(
        "builtins.open", lambda path, *a, **k: real(cpuinfo if path == "/proc/cpuinfo" else path, *a, **k)
    )
    zones, (domain,) = rapl.discover(str(tmp_path / "none"))
    assert not zones
    assert domain.status == "unavailable"
    assert why in domain.reason
    assert "does not exist" in domain.reason
    _, (empty,) = rapl.discover(str(tmp_path))
    assert empty.reason.startswith(f"no RAPL zone in {tmp_path}")


PYRAPL = """
import builtins, json, os, sys
root, real, exists = sys.argv[1], open, os.path.exists
move = lambda path: str(path).replace("/sys/class/powercap", root)
builtins.open = lambda path, *a, **k: real(move(path), *a, **k)
os.path.exists = lambda path: exists(move(path))
from pyRAPL import device_api
device_api.cpu_ids = device_api.get_socket_ids = lambda: [0]
package, dram = device_api.PkgAPI(), device_api.DramAPI()
for line in sys.stdin:
    print(json.dumps([package.energy()[0], dram.energy()[0]]), flush=True)
"""


def test_same_microjoules_as_pyrapl(tree: Tree) -> None:
    """pyRAPL knows no wraps; without one, both count the same. In a process of its own: it leaves files open."""
    package, dram = "intel-rapl/intel-rapl:0", "intel-rapl/intel-rapl:0/intel-rapl:0:0"
    tree.zone(package, "package-0", 1_000)
    tree.zone(dram, "dram", 50, DRAM_RANGE)
    tree.set(package, 1_000)
    tree.set(dram, 50)
    command = [sys.executable, "-W", "ignore", "-c", PYRAPL, str(tree.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None

        def ask() -> list[float]:
            print(file=peer.stdin, flush=True)
            return list(json.loads(peer.stdout.readline()))  # type: ignore[union-attr]

        before = ask()
        result, _ = used(tree, {package: (1_000, 7_654_321), dram: (50, 1_234_567)})
        after = ask()
        peer.stdin.close()
    assert result.counted_microjoules["package-0"] == after[0] - before[0] == 7_653_321
    assert result.counted_microjoules["dram-0"] == after[1] - before[1] == 1_234_517
