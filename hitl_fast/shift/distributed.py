"""What the ranks of a group have seen, put together on every rank as if one process had seen it in order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DistributedSampler

from hitl_fast._common.errors import InputError

from .accumulator import PreIndexAccumulator
from .embeddings import EmbeddingStore
from .head import Head
from .layer_inputs import LayerInputs
from .layers import readable
from .one_pass import Pass
from .ranks import Joined, Ranks
from .sharding import Sharded

HOLDERS = 6  # ranks that keep all embeddings: as many as there are tasks that read them
WORDS = 1 << 22  # of a parameter, summed at a time
ONE_BATCH = 1 << 32  # more samples than a batch holds


def put_together(
    run: Pass, store: EmbeddingStore, ranks: Joined, clean: Iterable[Any]
) -> tuple[tuple[Any, Any] | None, LayerInputs | None]:
    """Embeddings (n, D) of both sides and captured layer inputs; None on ranks that do not need them.

    What every rank's pass holds is merged into every rank's pass. Counts, predictions, labels and embeddings are then
    those of one process that read all samples in order. Sums of distances are float64 and added rank after rank: off
    by less than 1e-12 of their value from those of one process.

    Every rank keeps 9 bytes for each sample of all ranks (about 40 while they are put together), the first six the
    embeddings of all samples (in files beyond the store's memory), the first one the captured layer inputs.

    Raises:
        ValueError: ranks that do not fit together: another embedding, output layer or width, equal samples on two
            ranks, no samples at all.
    """
    if not isinstance(ranks, Ranks):
        return store.arrays(), run.layer_inputs() if run.captures else None
    ranks.meet()
    mine = summary(run, store, clean)
    found: list[dict[str, Any]] = ranks.exchange(mine)
    check_alike([(f"rank {rank}", one) for rank, one in enumerate(found)], "ranks")
    _check_orders(found)
    places = _places(run, ranks, clean, found)
    merge_sums(run, found, f"{len(found)} ranks")
    _merge_samples(run, ranks, places)
    rows = _embeddings(run, store, ranks, places, found)
    captured = _captured(run, ranks, places) if run.captures else None
    return rows, captured


def check_part(clean: Iterable[Any], ranks: Joined) -> None:
    """Refuse a loader that is another rank's part.

    Raises:
        ValueError: its rank or its number of ranks is not that of this group.
    """
    if isinstance(clean, Sharded) and (clean.rank, clean.world_size) != (ranks.rank, ranks.size):
        raise InputError(
            f"clean is sharded for rank {clean.rank} of {clean.world_size}, but this is rank {ranks.rank} of"
            f" {ranks.size} in group=: give sharded() the same group"
        )


def refuse_sharded(model: nn.Module, ranks: Joined) -> None:
    """Refuse weights that several ranks hold parts of: each forward pass waits for all ranks, which run different many.

    Raises:
        ValueError: the model is wrapped by FSDP or has distributed tensors, and there are several ranks.
    """
    from torch.distributed.fsdp import FullyShardedDataParallel

    if ranks.size == 1:
        return
    named = [name for name, m in model.named_modules() if isinstance(m, FullyShardedDataParallel)]
    named += [name for name, values in model.named_parameters() if hasattr(values, "to_local")]
    if named:
        raise InputError(
            f"the weights are sharded over ranks (FSDP or distributed tensors; first: {readable(named[0])!r}), so that"
            " every forward pass waits for all ranks, which have batches of their own here: leave group= out and give"
            " every rank the same loaders, or load the whole model on every rank"
        )


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Type of every module, and dtype, shape and a checksum of every parameter and floating point buffer.

    >>> a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> fingerprint(a) == fingerprint(b), fingerprint(a) == fingerprint(a)
    (False, True)
    """
    found: dict[str, Any] = {readable(name): type(m).__name__ for name, m in model.named_modules() if name}
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        if isinstance(tensor, nn.Parameter) or tensor.is_floating_point():
            found[readable(name)] = [str(tensor.dtype), list(tensor.shape), _checksum(tensor.detach())]
    return found


def _checksum(values: Tensor) -> int:
    """Of the bits, so that the device and the order of its sums do not matter; 0 where they are not at hand."""
    if values.is_meta or values.layout != torch.strided or hasattr(values, "to_local"):
        return 0
    values = values.contiguous()
    if values.storage_offset() * values.element_size() % 4:
        values = values.clone()
    as_bytes = values.reshape(-1).view(torch.uint8)
    words = as_bytes.view(torch.int32) if as_bytes.numel() % 4 == 0 else as_bytes
    weights = torch.arange(1, min(len(words), WORDS) + 1, device=words.device)
    total = 0
    for number, start in enumerate(range(0, len(words), WORDS)):
        part = words[start : start + WORDS].to(torch.int64)
        total += (number + 1) * int((part * weights[: len(part)]).sum())
    return total % (1 << 61)


def summary(run: Pass, store: EmbeddingStore, clean: Iterable[Any]) -> dict[str, Any]:
    """What this process has seen, apart from what there is of every sample."""
    head = run.watch.head
    return {
        "samples": len(run.classes),
        "order": _order_of(clean),
        "embedding": run.watch.embedding.name,
        "output layer": run.watch.output_layer,
        "embedding width": store.width,
        "head": None if head is None else [readable(head.name), head.number, head.at_position, head.doubt],
        "accumulator": run.accumulator.state(),
        "skipped": run.watch.skipped,
        "ran": sorted(run.watch.ran),
        "hits": run.guesses.hits(),
        "changes": run.changes.missing,
        "change sums": run.changes.sums(),
        "no changes": run.changes.none,
        "masks": list(run.masks_used),
        "notes": run.checking.notes,
        "ways": run.mode.split(", ") if run.mode else [],
        "seconds": run.seconds,
    }


def check_alike(parts: Sequence[tuple[str, Mapping[str, Any]]], makers: str) -> None:
    """Refuse parts whose numbers are not of the same thing; one without samples fits to all.

    Args:
        parts: (who made it, ``summary``).
        makers: what they are, in messages.

    Raises:
        ValueError: another embedding, output layer, width or number of logits, or no samples at all.
    """
    seen = [(maker, one) for maker, one in parts if one["samples"]]
    if not seen:
        raise InputError(f"clean and shifted hold no batch on any of the {len(parts)} {makers}")
    first, ours = seen[0]
    for maker, theirs in seen[1:]:
        for what in ("embedding", "output layer", "embedding width"):
            if ours[what] != theirs[what]:
                raise InputError(
                    f"the {what} differs between {makers}: {ours[what]!r} on {first}, {theirs[what]!r} on {maker}: name"
                    " the embedding by embedding= and the logits by output="
                )
        logits = ours["hits"]["logits"], theirs["hits"]["logits"]
        if 0 not in logits and logits[0] != logits[1]:
            raise InputError(
                f"the number of logits differs between {makers}: {logits[0]} on {first}, {logits[1]} on {maker}"
            )


def _check_orders(found: list[dict[str, Any]]) -> None:
    """Refuse ranks that deal their samples in different ways."""
    orders = {rank: one["order"] for rank, one in enumerate(found)}
    if len(set(orders.values())) > 1:
        raise InputError(
            f"the ranks read their parts in different ways: {orders}: give every rank sharded() of the same loader and"
            " order, or none"
        )


def _order_of(clean: Iterable[Any]) -> str:
    """How samples of several ranks are put in order."""
    if isinstance(clean, Sharded):
        return clean.dealt
    return "DistributedSampler" if isinstance(getattr(clean, "sampler", None), DistributedSampler) else "rank"


def _keys(run: Pass, clean: Iterable[Any], rank: int) -> np.ndarray:
    """One number a sample, rising within a rank: its place among all samples is that of its number."""
    n = len(run.classes)
    if isinstance(clean, Sharded):
        sizes = np.array(run.sizes, np.int64)
        starts = np.array(clean.numbers[: len(sizes)], np.int64) * ONE_BATCH
        within = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.asarray(np.repeat(starts, sizes) + within)
    sampler = getattr(clean, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        return np.arange(n, dtype=np.int64) * sampler.num_replicas + sampler.rank
    return np.arange(n, dtype=np.int64) + rank * (1 << 48)


def _places(run: Pass, ranks: Ranks, clean: Iterable[Any], found: list[dict[str, Any]]) -> list[np.ndarray]:
    """The global positions of each rank's samples."""
    keys = ranks.columns(_keys(run, clean, ranks.rank))
    order = np.argsort(np.concatenate(keys), kind="stable")
    if found[0]["order"] == "rank":
        _refuse_copies(found)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return np.split(place, np.cumsum([len(key) for key in keys])[:-1])


def _refuse_copies(found: list[dict[str, Any]]) -> None:
    """Refuse ranks that have read the same data, each all of it."""
    seen: dict[str, int] = {}
    for rank, one in enumerate(found):
        if not one["samples"]:
            continue
        counted = repr((one["samples"], one["hits"], one["accumulator"]))
        other = seen.setdefault(counted, rank)
        if other != rank:
            raise InputError(
                f"ranks {other} and {rank} have read equal data, {one['samples']} samples each: give every rank its own"
                " part by sharded(loader)"
            )


def merge_sums(run: Pass, found: Sequence[Mapping[str, Any]], makers: str) -> None:
    """Sums, names and notes of all ``summary``; seconds of the slowest. ``makers``: how many they are, for the mode."""
    seen = [one for one in found if one["samples"]]
    run.accumulator = PreIndexAccumulator.of_states([one["accumulator"] for one in seen])
    for one in seen:
        for name, reason in one["skipped"].items():
            run.watch.skipped.setdefault(name, reason)
        run.watch.ran.update(one["ran"])
        run.masks_used.update(dict.fromkeys(one["masks"]))
    run.guesses.take([one["hits"] for one in seen])
    run.changes.missing = next((one["changes"] for one in seen if one["changes"]), "")
    run.changes.take([one["change sums"] for one in seen])
    run.changes.none = all(one["no changes"] for one in seen)
    run.checking.notes = list(dict.fromkeys(note for one in seen for note in one["notes"]))
    ways = [way for one in seen for way in one["ways"] if way != makers]
    run.take_ways([*ways, makers])
    run.seconds = {name: max(one["seconds"][name] for one in found) for name in run.seconds}
    if run.watch.head is None and seen[0]["head"] is not None:
        name, number, at_position, doubt = seen[0]["head"]
        module = next(m for path, m in run.watch.model.named_modules() if readable(path) == name)
        run.watch.embedding.head = Head(name, module, number, at_position, doubt)


def _merge_samples(run: Pass, ranks: Ranks, places: list[np.ndarray]) -> None:
    """What there is of every sample, in global order."""
    total = sum(map(len, places))

    def ordered(values: np.ndarray) -> np.ndarray:
        found = np.empty(total, values.dtype)
        for place, part in zip(places, ranks.columns(values), strict=True):
            found[place] = part
        return found

    run.take_samples(ordered(run.classes), ordered(run.finite))


def _embeddings(
    run: Pass, store: EmbeddingStore, ranks: Ranks, places: list[np.ndarray], found: list[dict[str, Any]]
) -> tuple[Any, Any] | None:
    """Both sides' embeddings in global order, on the first ranks."""
    finite = run.finite
    among_finite = np.cumsum(finite) - 1
    where = [among_finite[place[finite[place]]] for place in places]
    width = next(one["embedding width"] for one in found if one["samples"])
    shape = (int(finite.sum()), int(width or 0))
    keep = ranks.rank < HOLDERS
    in_file = 2 * store.dtype.itemsize * shape[0] * shape[1] > store.max_memory
    mine = store.arrays() if store.rows else (torch.empty((0, shape[1]), dtype=store.dtype),) * 2
    sides: list[Any] = []
    for rows in mine:
        side = _room(shape, store.dtype, run.place, in_file) if keep else None
        for rank, start, block in ranks.blocks(rows):
            if side is None:
                continue
            into = where[rank][start : start + len(block)]
            if isinstance(side, Tensor):
                side[torch.from_numpy(into).to(side.device)] = block.to(side.device)
            else:
                side[into] = block.cpu().numpy()
        sides.append(side)
    store.in_file |= in_file
    return (sides[0], sides[1]) if keep else None


def _room(shape: tuple[int, int], dtype: torch.dtype, place: torch.device, in_file: bool) -> Any:
    """An empty (n, D): a tensor, or a map of a file without a name."""
    if not in_file or 0 in shape:
        return torch.empty(shape, dtype=dtype, device=place)
    kind = np.float32 if dtype == torch.float32 else np.float16
    with tempfile.TemporaryFile(prefix="hitl-fast-") as file:  # the map keeps it
        return np.memmap(file, kind, "w+", shape=shape)


def _captured(run: Pass, ranks: Ranks, places: list[np.ndarray]) -> LayerInputs | None:
    """Inputs and logits of the globally first samples, on the first rank."""
    mine = run.layer_inputs()
    most = min(run.captures, sum(map(len, places)))
    taken = [int(np.searchsorted(place, most)) for place in places]
    keep = ranks.rank == 0
    shape = {
        "layers": {name: [rows.shape[1] for rows in calls[0]] for name, calls in mine.inputs.items()},
        "logits": [mine.clean_logits.shape[1], mine.shifted_logits.shape[1]],
    }
    shapes = [one for one, n in zip(ranks.exchange(shape), taken, strict=True) if n]

    def whole(rows: np.ndarray | None, width: int) -> np.ndarray:
        if rows is None or not len(rows):
            rows = np.zeros((0, width), np.float32)
        found = np.empty((most, width) if keep else (0, width), np.float32)
        for rank, start, block in ranks.blocks(np.ascontiguousarray(rows[: taken[ranks.rank]])):
            if keep:
                found[places[rank][start : start + len(block)]] = block.cpu().numpy()
        return found

    inputs: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for name, widths in _common(shapes).items():
        held = mine.inputs.get(name)
        inputs[name] = ([], [])
        for side in (0, 1):
            for call, width in enumerate(widths):
                inputs[name][side].append(whole(None if held is None else held[side][call], width))
    alike = all(one["logits"] == shapes[0]["logits"] for one in shapes)
    clean, shifted = shapes[0]["logits"] if alike else (0, 0)
    logits = [
        whole(rows if alike else rows[:, :0], width)
        for rows, width in ((mine.clean_logits, clean), (mine.shifted_logits, shifted))
    ]
    return LayerInputs(inputs, logits[0], logits[1], run.classes[:most], np.arange(most)) if keep else None


def _common(shapes: list[dict[str, Any]]) -> Mapping[str, list[int]]:
    """Layers that every rank with samples has captured alike."""
    layers = [one["layers"] for one in shapes]
    return {
        name: widths for name, widths in layers[0].items() if all(held.get(name) == widths for held in layers)
    }
