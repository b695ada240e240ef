"""Embeddings of both data sets, in memory up to a budget and beyond it in a private temporary file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from hitl_fast._common.errors import InputError


def default_budget(device: torch.device) -> int:
    """A quarter of the free memory, in bytes, where embeddings are kept: of the GPU's or of the host's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 4)
    return _free_memory() // 4


def _free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can still allocate: the host's, or those of its control group if fewer."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        kib = dict(line.split(":", 1) for line in lines)
        free = int(kib["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    for limit, used in (
        ("memory.max", "memory.current"),  # control groups, version 2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # version 1
    ):
        try:
            group = root / "sys/fs/cgroup"
            free = min(free, max(0, int((group / limit).read_text()) - int((group / used).read_text())))
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
    return free


DTYPES = {"float32": torch.float32, "float16": torch.float16}


class EmbeddingStore:
    """Rows (n, D) of the clean and of the shifted data, or of one of them, appended batch by batch.

    Args:
        max_memory: bytes that all may take together, and a half more while blocks are put together; beyond it they
            move to temporary files without a name, which the operating system frees when they are closed, however
            the process ends.
        dtype: "float32", or "float16" for half the memory: values are rounded to 11 bits (on 20,000 digits an adjusted
            Rand index of .5343 for .5345, a probe error of .1265 for .1264, an equal CKA).
        sides: 2, or 1 where one side serves as both: it is kept once.

    Raises:
        ValueError: another dtype.
    """

    def __init__(self, max_memory: int, dtype: str = "float32", *, sides: int = 2) -> None:
        if dtype not in DTYPES:
            raise InputError(f"embedding_dtype must be {' or '.join(DTYPES)}, not {dtype!r}")
        self.max_memory = max_memory
        self._dtype = DTYPES[dtype]
        self.rows = 0
        self.width: int | None = None
        self.in_file = False
        self._blocks: list[list[Tensor]] = [[] for _ in range(sides)]
        self._files: list[IO[bytes]] = []

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    def append(self, clean: Tensor, shifted: Tensor) -> None:
        """Add the embeddings of a batch of pairs.

        Raises:
            ValueError: they are not as wide as those before, or too large for float16.
        """
        width = clean.shape[1]
        if self.width is None:
            self.width = width
        if self.width != width or shifted.shape != clean.shape:
            now = (
                f"{width}" if shifted is clean else f"{width} on clean and {shifted.shape[1]} on shifted data"
            )
            raise InputError(
                f"embeddings had {self.width} values a sample before, now {now}: name an embedding of fixed size, or "
                "use pooling='mean'"
            )
        self.rows += len(clean)
        for blocks, block in zip(self._blocks, (clean, shifted), strict=False):
            blocks.append(self._stored(block))
        if (
            not self.in_file
            and len(self._blocks) * self._dtype.itemsize * self.rows * width > self.max_memory
        ):
            for _ in self._blocks:
                self._files.append(tempfile.TemporaryFile(prefix="hitl-fast-"))  # noqa: SIM115
            self.in_file = True
        if self.in_file:
            self._flush()

    def arrays(self) -> tuple[Any, Any]:
        """Both as (n, D): tensors on their device, or memory-mapped arrays; one of one side twice."""
        if not self.in_file:
            found = []
            for blocks in self._blocks:
                whole = torch.cat(blocks) if len(blocks) > 1 else blocks[0]
                blocks[:] = [whole]
                found.append(whole)
            return found[0], found[-1]
        with self._written():
            for file in self._files:
                file.flush()
        shape = (self.rows, self.width or 0)
        dtype = np.float32 if self._dtype == torch.float32 else np.float16
        maps = [np.memmap(file, dtype, "r", shape=shape) for file in self._files]
        return maps[0], maps[-1]

    def close(self) -> None:
        files, self._files = self._files, []
        for file in files:
            with contextlib.suppress(OSError):  # a full disk takes no more, and nobody wants the rest
                file.close()

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stored(self, block: Tensor) -> Tensor:
        held = block.to(self._dtype)
        if self._dtype == torch.float16 and bool(held.isinf().any()):
            largest = float(block.abs().max())
            raise InputError(
                f"embeddings reach {largest:.3g}, more than float16 holds (65504): use embedding_dtype='float32'"
            )
        return held

    def _flush(self) -> None:
        with self._written():
            for blocks, file in zip(self._blocks, self._files, strict=True):
                for block in blocks:
                    file.write(np.ascontiguousarray(block.cpu().numpy()).data)
                blocks.clear()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """Say what is written where, if the disk is full."""
        try:
            yield
        except OSError as problem:
            raise OSError(
                problem.errno,
                f"{problem.strerror}: embeddings beyond max_memory ({self.max_memory} bytes) go to a file in"
                f" {tempfile.gettempdir()} (TMPDIR names another folder); embedding_dtype='float16' takes half",
            ) from problem
