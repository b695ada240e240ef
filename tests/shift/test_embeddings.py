"""Where embeddings are kept: the budget, the files, and what is refused."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hitl_fast.shift import embeddings
from hitl_fast.shift.embeddings import EmbeddingStore


def machine(root: Path, available: int, group: dict[str, str]) -> Path:
    (root / "proc").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {available // 1024} kB\n")
    for name, value in group.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
    return root


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({}, 2**30),
        ({"memory.max": "max\n", "memory.current": "5\n"}, 2**30),
        ({"memory.max": f"{2**20 + 7}\n", "memory.current": "7\n"}, 2**20),
        ({"memory.max": "10\n", "memory.current": "20\n"}, 0),
        ({"memory/memory.limit_in_bytes": str(2**21), "memory/memory.usage_in_bytes": str(2**20)}, 2**20),
    ],
)
def test_free_memory_is_what_the_control_group_leaves(
    group: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert embeddings._free_memory(machine(tmp_path / "root", 2**30, group)) == expected


def test_free_memory_without_proc_is_half_of_the_machine(tmp_path: Path) -> None:
    assert 0 < embeddings._free_memory(tmp_path) == embeddings._free_memory(tmp_path / "none")


@pytest.mark.parametrize("budget", [10**9, 2000, 0])
def test_rows_come_back_as_they_went_in(budget: int) -> None:
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.randn(2, n, 7, generator=generator) for n in (5, 1, 30)]
    with EmbeddingStore(budget) as store:
        for clean, shifted in blocks:
            store.append(clean, shifted)
        assert store.in_file == (budget < 2 * 36 * 7 * 4)
        for side, found in enumerate(store.arrays()):
            np.testing.assert_array_equal(found, torch.cat([block[side] for block in blocks]))


@pytest.mark.parametrize("budget", [10**9, 1000, 0])
def test_one_side_is_kept_once(budget: int) -> None:
    rows = torch.randn(36, 7, generator=torch.Generator().manual_seed(0))
    with EmbeddingStore(budget, sides=1) as store:
        store.append(rows[:30], rows[:30])
        store.append(rows[30:], rows[30:])
        assert store.in_file == (budget < 36 * 7 * 4)
        ours, theirs = store.arrays()
        np.testing.assert_array_equal(ours, rows)
        assert ours is theirs
        narrow = rows[:, :6]
        with pytest.raises(ValueError, match="now 6:"):
            store.append(narrow, narrow)


def test_refuses_rows_of_another_width() -> None:
    with EmbeddingStore(10**6) as store:
        store.append(torch.zeros(3, 4), torch.zeros(3, 4))
        with pytest.raises(ValueError, match="had 4 values a sample before, now 5 on clean and 5 on shifted"):
            store.append(torch.zeros(3, 5), torch.zeros(3, 5))


@pytest.mark.parametrize("budget", [10**9, 0])
def test_half_precision_halves_the_memory(budget: int) -> None:
    rows = torch.randn(2, 40, 7, generator=torch.Generator().manual_seed(0))
    with EmbeddingStore(budget, "float16") as store:
        store.append(*rows[:, :25])
        store.append(*rows[:, 25:])
        for side, found in enumerate(store.arrays()):
            np.testing.assert_array_equal(np.asarray(found), rows[side].half())
    with EmbeddingStore(4 * 10 * 7, "float16") as store:
        store.append(*rows[:, :10])
        assert not store.in_file
        store.append(*rows[:, :1])
        assert store.in_file


def test_half_precision_refuses_what_it_cannot_hold() -> None:
    with EmbeddingStore(10**6, "float16") as store, pytest.raises(ValueError, match="7e\\+04.*float32"):
        store.append(torch.full((3, 4), 7e4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="embedding_dtype.*bfloat16"):
        EmbeddingStore(10, "bfloat16")


@pytest.mark.parametrize("rows", [3, 300_000])  # found when the buffer is flushed, or while writing
def test_a_full_disk_is_named_and_leaves_no_file_open(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def full(**_: object) -> object:
        made.append(open("/dev/full", "w+b"))  # noqa: SIM115
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", full)

    def spill() -> None:
        with EmbeddingStore(0) as store:
            store.append(torch.ones(rows, 2), torch.ones(rows, 2))
            store.arrays()

    with pytest.raises(OSError, match=r"No space left.*max_memory \(0 bytes\).*TMPDIR"):
        spill()
    assert [file.closed for file in made] == [True, True]


def test_an_interrupt_while_spilling_closes_the_files() -> None:
    files = []

    def spill() -> None:
        with EmbeddingStore(0) as store:
            store.append(torch.ones(3, 2), torch.ones(3, 2))
            files.extend(store._files)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spill()
    assert [file.closed for file in files] == [True, True]
