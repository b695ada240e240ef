"""Ray Data: ``preindex`` whose forward pass runs in the actors of a cluster."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hitl_fast._common.errors import InputError, InputTypeError, MissingExtraError, require

if TYPE_CHECKING:
    from torch import nn

    from hitl_fast.shift.report import PreIndexReport

SIDES = ("clean", "shifted")
ROW = "row"  # the column of a sample's number among all; the others begin with the side's name


def preindex_ray(
    model_fn: Callable[[], nn.Module],
    clean_dataset: Any,
    shifted_dataset: Any,
    *,
    batch_size: int = 64,
    actors: int = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    progress: bool = True,
    **options: Any,
) -> PreIndexReport:
    """``hitl_fast.preindex`` of two Ray datasets, with the forward pass in actors.

    Each actor has the model and is given whole batches of pairs by ``map_batches``; what a batch adds (sums of
    distances and histograms, embeddings, labels, the first samples' layer inputs) returns as tensors. This process
    adds them up in the order of the samples, as the ranks of a process group do, and computes the scores.

    Counts, predictions, labels and embeddings are those of ``preindex`` with DataLoaders of the same batch size,
    provided that the model computes a sample alike in every process. Sums of distances differ by less than 1e-12 of
    their value, whatever the number of actors.

    Memory: the object store holds both datasets, and for a while twice; this process holds all embeddings (see
    ``max_memory``), the layer inputs of ``effort_samples`` samples, and 9 bytes for each sample.

    Args:
        model_fn: a function without arguments that returns the model, on the CPU. Every actor and this process call
            it, and it must give the same weights each time: load them from a file that all machines can read.
        clean_dataset: a ``ray.data.Dataset``: columns with the model's inputs, and one with labels.
        shifted_dataset: the same samples after the shift, in the same order, with the same columns. Where a dataset is
            still to be read or computed, that is done in order (``preserve_order``).
        batch_size: pairs in a batch.
        actors: how many copies of the model run; not more than there are batches.
        num_cpus: CPUs of each actor; PyTorch uses as many threads.
        num_gpus: GPUs of each actor; give ``device="cuda"`` then.
        progress: Ray's progress report, and a bar on a terminal for what follows.
        options: the arguments of ``hitl_fast.preindex`` from ``embedding`` to ``max_memory``; not ``paired``,
            ``labels_for``, ``label_budget`` and ``group``. ``labels``, ``inputs`` and ``mask`` name columns, or are
            functions of a mapping of tensors; ``device`` is that of the actors.

    Returns:
        PreIndexReport.

    Raises:
        ImportError: Ray is not installed.
        ValueError: the datasets differ in length or labels, lack a column, are empty; the weights differ between two
            calls of ``model_fn``; and as ``preindex``, with positions among all samples.
        TypeError: ``model_fn`` is not a function that returns a module, a dataset is none of Ray's, an option that
            there is not; and as ``preindex``.
        RuntimeError: an actor failed: its error is the cause.

    >>> from hitl_fast.integrations import preindex_ray
    >>> report = preindex_ray(load_model, clean, shifted, actors=4, inputs="image")  # doctest: +SKIP
    """
    from hitl_fast.shift.parts import Request, checked_model, of_parts

    for name, number, least in (("batch_size", batch_size, 1), ("actors", actors, 1)):
        if not isinstance(number, int) or number < least:
            raise InputError(f"{name} must be a whole number >= {least}, not {number!r}")
    request = Request.of(options)
    ray = _ray()
    datasets = dict(zip(SIDES, (clean_dataset, shifted_dataset), strict=True))
    for side, dataset in datasets.items():
        if not isinstance(dataset, ray.data.Dataset):
            raise InputTypeError(f"{side}_dataset must be a ray.data.Dataset, not {type(dataset).__name__}")
    module = checked_model(model_fn)
    pairs, batches = _pairs(datasets, request.sources.splitting, batch_size)
    actors = min(actors, batches)
    with _settings(pairs, progress):
        made = pairs.map_batches(
            _Actor,
            fn_constructor_args=(model_fn, request),
            batch_size=batch_size,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=num_cpus,
            num_gpus=num_gpus or None,
        )
        makers = f"{actors} Ray actor{'s' * (actors > 1)}"
        with contextlib.closing(_results(made)) as parts:  # Ray stops its actors here where a part is refused
            return of_parts(module, parts, request, makers, progress)


class _Actor:
    """Sends batches through the model in a process of Ray."""

    def __init__(self, model_fn: Callable[[], nn.Module], request: Any) -> None:
        from hitl_fast.shift.parts import Worker

        self._worker = Worker(model_fn, request)

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        """A table of one row: what the batch adds."""
        import pyarrow as pa

        first = int(batch[ROW][0])
        clean, shifted = (_columns(batch, side) for side in SIDES)
        part = self._worker.part(clean, shifted, first)
        return pa.table({"part": pa.array([part], pa.large_binary())})


def _columns(batch: Mapping[str, Any], side: str) -> dict[str, Any]:
    """One side's columns: numbers as tensors, all else as lists."""
    import numpy as np
    import torch

    def made(values: Any) -> Any:
        if values.dtype == object and len(values) and all(isinstance(v, np.ndarray) for v in values):
            shapes = {v.shape for v in values}  # of lists, as Parquet stores vectors
            if len(shapes) == 1 and all(v.dtype.kind in "fiub" for v in values):
                values = np.stack(values)
        # A copy: Ray's arrays are read-only.
        return torch.from_numpy(np.array(values)) if values.dtype.kind in "fiub" else list(values)

    held = {name.removeprefix(f"{side} "): v for name, v in batch.items() if name.startswith(f"{side} ")}
    return {name: made(values) for name, values in held.items()}


def _ray() -> Any:
    """The module ``ray``, with ``ray.data``.

    Raises:
        ImportError: it is not installed, or a package that it imports is broken.
    """
    before = set(sys.modules)
    try:
        require("ray.data", "ray", "preindex_ray")
    except KeyError as problem:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("ray", "amdsmi"):
                del sys.modules[name]  # half imported: the next call would find it, and fail in another way
        if "amd_smi" not in str(problem):
            raise
        raise MissingExtraError(
            "Ray imports the package amdsmi, which cannot be imported here without the library of ROCm"
            f" ({problem}): uninstall amdsmi, or install ROCm",
            name="amdsmi",
        ) from problem
    return require("ray", "ray", "preindex_ray")


@contextlib.contextmanager
def _settings(dataset: Any, progress: bool | None = None) -> Iterator[None]:
    """A dataset is computed in the order of its rows, and errors come as they were raised."""
    context = dataset.context
    wanted = {"raise_original_map_exception": True}
    if progress is not None:
        wanted["enable_progress_bars"] = progress
    before = context.execution_options.preserve_order, {name: getattr(context, name) for name in wanted}
    context.execution_options.preserve_order = True
    for name, value in wanted.items():
        setattr(context, name, value)
    try:
        yield
    finally:
        context.execution_options.preserve_order = before[0]
        for name, value in before[1].items():
            setattr(context, name, value)


def _pairs(datasets: Mapping[str, Any], splitting: Any, batch_size: int) -> tuple[Any, int]:
    """A dataset of pairs, one block a batch, and the number of batches. Row numbers tell where a batch belongs.

    ``Dataset.zip`` would do nearly that, but goes with Ray 2.64.
    """
    import ray
    from ray.data import from_arrow_refs

    @ray.remote
    def rows(table: Any) -> int:
        return len(table)

    blocks: dict[str, list[tuple[Any, int]]] = {}
    for side, dataset in datasets.items():
        with _settings(dataset):
            refs = dataset.materialize().to_arrow_refs()
        counts = ray.get([rows.remote(ref) for ref in refs])
        blocks[side] = [(ref, count) for ref, count in zip(refs, counts, strict=True) if count]
    lengths = {side: sum(count for _, count in held) for side, held in blocks.items()}
    if lengths["clean"] != lengths["shifted"]:
        raise InputError(
            f"clean_dataset has {lengths['clean']} rows but shifted_dataset {lengths['shifted']}: they must hold the"
            " same samples"
        )
    if not lengths["clean"]:
        raise InputError("clean_dataset and shifted_dataset have no rows")
    names = {side: ray.get(held[0][0]).column_names for side, held in blocks.items()}
    _refuse_missing(names, splitting)
    pair = ray.remote(_paired)
    cuts = {side: list(_cuts([count for _, count in held], batch_size)) for side, held in blocks.items()}
    tables = []
    for number, (clean, shifted) in enumerate(zip(cuts["clean"], cuts["shifted"], strict=True)):
        refs = [
            blocks[side][block][0]
            for side, cut in (("clean", clean), ("shifted", shifted))
            for block, *_ in cut
        ]
        plan = [[(start, stop) for _, start, stop in cut] for cut in (clean, shifted)]
        tables.append(pair.remote(number * batch_size, plan, *refs))
    return from_arrow_refs(tables), len(tables)


def _cuts(counts: list[int], size: int) -> Iterator[list[tuple[int, int, int]]]:
    """For each batch of so many rows the blocks that it is in: (block, first row, end).

    >>> list(_cuts([3, 2], 4))
    [[(0, 0, 3), (1, 0, 1)], [(1, 1, 2)]]
    """
    cut: list[tuple[int, int, int]] = []
    room = size
    for block, count in enumerate(counts):
        start = 0
        while start < count:
            stop = min(count, start + room)
            cut.append((block, start, stop))
            room -= stop - start
            start = stop
            if not room:
                yield cut
                cut, room = [], size
    if cut:
        yield cut


def _paired(first: int, plan: list[list[tuple[int, int]]], *tables: Any) -> Any:
    """One batch of both sides as a table."""
    import pyarrow as pa

    rest = iter(tables)
    columns: dict[str, Any] = {}
    for side, cut in zip(SIDES, plan, strict=True):
        table = pa.concat_tables([next(rest).slice(start, stop - start) for start, stop in cut])
        columns |= {f"{side} {name}": table[name] for name in table.column_names}
    return pa.table({**columns, ROW: pa.array(range(first, first + len(table)), pa.int64())})


def _refuse_missing(names: Mapping[str, list[str]], splitting: Any) -> None:
    """Name the columns that are wanted and missing.

    Raises:
        ValueError: there are some.
    """
    from hitl_fast.shift.splitting import LABEL_KEYS

    wanted: dict[str, list[Any]] = {}
    for argument in ("labels", "inputs", "mask"):
        value = getattr(splitting, argument)
        if value is not None and not callable(value):
            wanted[argument] = [value] if isinstance(value, str | int) else list(value)
    for side, held in names.items():
        for argument, columns in wanted.items():
            missing = [column for column in columns if column not in held]
            if missing:
                raise InputError(
                    f"{side}_dataset has no column {missing[0]!r}, which {argument}= names; it has {', '.join(held)}"
                )
        if splitting.labels is None and not set(LABEL_KEYS) & set(held):
            raise InputError(
                f"{side}_dataset has no column with labels, which would be one of {', '.join(LABEL_KEYS)}; it has"
                f" {', '.join(held)}: name it by labels="
            )


def _results(dataset: Any) -> Generator[bytes, None, None]:
    """What the actors give, in order.

    Raises:
        RuntimeError: one has failed.
    """
    from ray.exceptions import RayError

    try:
        with contextlib.closing(
            iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
        ) as tables:
            for table in tables:
                yield from table["part"].to_pylist()
    except RayError as problem:
        cause = getattr(problem, "cause", None) or problem.__cause__ or problem
        raise RuntimeError(f"an actor of Ray failed: {type(cause).__name__}: {cause}") from problem
