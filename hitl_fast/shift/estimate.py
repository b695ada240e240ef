"""``preindex``: one forward pass over clean and shifted data, one number for what retraining will cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from hitl_kernels.shift_distances import checked_bins
from torch import nn

from hitl_fast._common.errors import InputError, InputTypeError, input_errors

from .distributed import check_part, fingerprint, put_together, refuse_sharded
from .embeddings import EmbeddingStore, default_budget
from .evaluation import undisturbed, unwrapped
from .finish import After, finished, versions, warn_of_left_out
from .labelling import Labelling
from .loaders import check_loaders
from .one_pass import Pass, Sources
from .options import Options, whole_number
from .partial import Resources, collect, partial_fields
from .ranks import joined, local_ranks
from .report import PreIndexReport
from .splitting import Splitting


def preindex(
    model: nn.Module,
    clean: Iterable[Any],
    shifted: Iterable[Any],
    embedding: str | None = None,
    *,
    bins: Sequence[int] = (16, 32, 64),
    arithmetic: str = "corrected",
    pooling: str = "mean",
    measure: str = "jensen_shannon",
    measure_bins: int = 32,
    scale: float = 0.0,
    offset: float = 0.0,
    output: str | int | Callable[[Any], Any] | None = None,
    labels: str | int | None = None,
    inputs: str | int | Sequence[str | int] | Callable[[Any], Any] | None = None,
    mask: str | int | Callable[[Any], Any] | None = None,
    clean_accuracy: float | None = None,
    effort_samples: int = 2048,
    kmeans: bool | None = None,
    embedding_samples: int | None = None,
    embedding_dtype: str = "float32",
    paired: bool = True,
    labels_for: str | None = None,
    label_budget: int | None = None,
    device: torch.device | str | None = None,
    max_memory: int | None = None,
    group: Any = None,
    progress: bool = True,
) -> PreIndexReport:
    """Estimate, before retraining, what retraining a model to shifted data will cost.

    Clean and shifted versions of the same samples go through the model once. With p the mean distance between the
    histograms of each layer's activations, and ARI the adjusted Rand index of the shifted embeddings, clustered from
    the clean class means, against the labels::

        u = p + (1 - ARI)
        index = u / (1 + u * scale) - offset

    Beside the published index the report has the effort score, which predicted retraining better wherever the two were
    compared: ``hitl_fast.shift.effort_score.effort_score``, from the inputs of every layer.

    A higher index means more to relearn. At fixed scale and offset the index ranks as u does. The paper's s and s_bar,
    which scale and shift it for the variance of the noise, have no public definition: they are ``scale`` and
    ``offset`` here, 0 unless you give them. The report also has what else one pass tells (accuracy drop, probe error,
    linear CKA, ...): compare before you trust one number.

    The defaults of arithmetic, pooling, measure and bins are those of the paper's text, corrected. In 1,152
    retrainings the best of 60 choices was ahead by 0.01 in Spearman within a model. The index ranked the steps to
    recover with 0.72, no better than the accuracy drop (0.66) and worse than the probe error (0.82) and the effort
    score (0.86), because inverse ARI carries it: p alone ranks with 0.46, and p of different architectures cannot be
    compared. Intervals are in docs/results.md; ``hitl-fast experiment calibration`` repeats the study.

    Args:
        model: any module. It is evaluated (eval mode, no gradient) under the ambient autocast, and left as it was.
        clean: batches ``(inputs, ..., labels)``, called as ``model(inputs, ...)``, or mappings with labels, called as
            ``model(**rest)``, where what is no argument of the model (paths, indices) is left out. Labels
            are (n,) integer classes. A DataLoader that does not shuffle, or any iterable of batches.
        shifted: the same samples after the shift, in the same order, with the same labels and batch sizes.
        embedding: name of the module whose output is clustered; default: the input of what made the logits, found by
            equality; where that ran on every token, at the position whose output the logits are.
        bins: numbers of histogram bins, each >= 2, rising.
        arithmetic: "reference" is the published code's: a layer counts if its rows are longer than there are classes,
            token outputs are flattened, embeddings are not pooled, one k-means++ start. "corrected" leaves out the
            layer that made the logits, pools tokens and embeddings under pooling="mean", smooths the
            Kullback-Leibler divergence, takes near-constant rows as constant and starts k-means++ ten times.
        pooling: "mean" over positions, one unit a channel or feature; "flatten": every value is a unit.
        measure: the distance that is p: jensen_shannon, bhattacharyya, kullback_leibler, wasserstein_heights or
            wasserstein_bins; all are reported.
        measure_bins: the number of bins that p is taken at; one of ``bins``.
        scale: s >= 0.
        offset: s_bar.
        output: where the logits are in what the model returns: a key, a position or a function. Default: the
            tensor itself, its ``logits``, or the first of a tuple.
        labels: where the labels are in a batch: a key or a position. Default: the last of a tuple; "labels", "label",
            "targets", "target" or "y" of a mapping.
        inputs: what the model is called with: a key, a position, several of them, or a function of the batch that gives
            one value, a tuple, or a mapping. Default: all but the labels.
        mask: what is not padding: a key, a position or a function of the batch that gives (n, positions), True or 1
            for what counts. Default: ``attention_mask``, ``mask``, ``src_key_padding_mask`` or ``lengths``, where the
            model takes one by that name. Padding is left out of means over positions, of the embedding and of
            ``input_rms`` (under arithmetic="corrected" and pooling="mean"); the report names the mask.
        clean_accuracy: of the model on samples that it was not trained on, within 0 and 1: the effort score's target.
            Default: that of these clean samples.
        effort_samples: the effort score is of so many samples at most; memory n^2, time n^3. 0: no effort score.
        kmeans: whether clusters are also made from k-means++ starts, which the index does not use and which take most
            of the time beside the forward pass. Default: only under "reference", where they belong to the published
            output. Left out, "clean_kmeans++" and "shifted_kmeans++" are None.
        embedding_samples: cluster a random sample of so many embeddings; each cluster report then has the standard
            error of its ARI. Default: all.
        embedding_dtype: "float32", or "float16" for half the memory of the embeddings.
        paired: False: clean and shifted are different samples, in any number, order and mix of classes. What compares
            a sample with itself (p and the index, ``input_rms``, ``cka``) is None; ``class_mean_cka`` and the effort
            score with class means of the clean logits as targets take their place.
        labels_for: "clean": the labels of shifted samples are unknown; batches of ``shifted`` may have none, and those
            that they have are not read. What needs them is None. Default: "both".
        label_budget: labels of so many shifted samples are used, drawn at random among those whose label is known (one
            below 0 is not) and whose embedding is finite. ``intervals`` has the 95 % intervals over them of accuracy,
            inverse ARI and what is made of these; scores without an interval depend on the number of labels: compare
            those of equal budgets.
        device: where to run; default: where the model is. The model is moved back.
        max_memory: bytes of embeddings to hold; beyond, they go to a temporary file without a name (in the folder
            that TMPDIR names). Default: a quarter of the free memory of host or GPU, shared by the ranks on a machine.
        group: the ranks that each read a part of the samples: "world" or a torch.distributed ProcessGroup; every rank
            calls this with its ``hitl_fast.sharded`` loaders, or with loaders of its own part, and gets the report of
            all. The first six ranks hold all embeddings (the clusterings and scores are dealt to them), the first one
            the layer inputs of the effort score, all of them 9 bytes for each sample of all. Default: this process
            alone.
        progress: a progress bar on a terminal.

    Which rows belong to which sample is not guessed from shapes: a few samples also go through the model alone, before
    the first batch of each shape, and a layer counts where its values are equal to those in the batch. What cannot be
    proved so is in ``skipped`` with its reason; a model whose arithmetic sees the batch is named in ``notes``.

    Returns:
        PreIndexReport. Distances do not depend on the batch size beyond what the model's own arithmetic does. Under
        "corrected", clean and shifted samples go through it as one batch where that is faster and the device has
        room; under "reference" one after the other, as published.

    Raises:
        ValueError: loaders of different length, differing labels (the position is named), a loader that shuffles, the
            same iterator twice, no batch, an unknown embedding (near names are listed), no layer to look at, all
            rows of a layer not finite, as many samples in a batch as time steps where nothing tells one from the
            other, inputs of which no sample can be run alone, no layer that made the logits, lazy modules without
            weights, bad options; with ``group``: options, weights, embedding or output layer differ between ranks, two
            ranks have read the same data. What one rank raises, all raise, with its number.
        TypeError: batches without labels, labels that are not classes, no logits where ``output`` says.
        RuntimeError, IndexError, ...: the model raised it on a batch; a ValueError too, with side, batch and shapes.
        ConnectionError: a rank has ended, or given no sign of life for 30 s.

    Warns:
        UserWarning: some row pairs hold NaN or infinite values and are left out; the layers are named.

    Source: Sangarya, Bradford, Kim, Estimating Environmental Cost Throughout Model's Adaptive Life Cycle, AIES 2024
    (arXiv 2408.01446).

    >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> x, y = torch.randn(30, 4), torch.arange(30) % 3
    >>> report = preindex(model, [(x, y)], [(x + 0.5, y)])
    >>> report.samples, list(report.layers), report.embedding
    (30, ['0'], 'input of 2')
    """
    with joined(group) as ranks:
        with input_errors():
            bins = checked_bins(bins)
        options = Options(bins, arithmetic, pooling, measure, measure_bins, scale, offset)
        with_starts = not options.corrected if kmeans is None else kmeans
        after = After(effort_samples, clean_accuracy, embedding_samples, with_starts)
        labelling = Labelling(paired, labels_for, label_budget)
        if group is not None and not labelling.complete:
            raise InputError(
                "group= is for pairs whose labels are all known: leave it out with paired=False, labels_for='clean' or"
                " label_budget="
            )
        if max_memory is not None:
            whole_number("max_memory", max_memory, 0, "bytes")
        if not isinstance(model, nn.Module):
            raise InputTypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
        check_loaders(clean, shifted, grouped=group is not None, paired=paired)
        if group is not None:
            check_part(clean, ranks)
        module = unwrapped(model)
        refuse_sharded(module, ranks)
        place = model_device(module, device)
        budget = default_budget(place) // local_ranks() if max_memory is None else max_memory
        sources = Sources(embedding, output, Splitting(labels, inputs, mask))
        if not labelling.complete:
            resources = Resources(
                place,
                budget,
                embedding_dtype,
                effort_samples,
                embedding_samples,
                clean_accuracy,
                after.restarts(options),
                progress,
            )
            with ExitStack() as stack, undisturbed(module, place, (clean, shifted)):
                how = sources, options, resources
                material = collect(stack, module, (clean, shifted), labelling, how)
                warn_of_left_out(material.layers, material.finite)
                fields = partial_fields(material, labelling, options, resources)
            return PreIndexReport(
                **fields, measure=measure, measure_bins=measure_bins, scale=scale, offset=offset,
                arithmetic=arithmetic, pooling=pooling, versions=dict(versions()),
            )  # fmt: skip
        where = {"embedding": embedding, "output": output, **vars(sources.splitting)}
        wanted = {"embedding_dtype": embedding_dtype, **where, **vars(options), **vars(after)}
        ranks.agree(wanted, lambda: fingerprint(module))
        with EmbeddingStore(budget, embedding_dtype) as store, undisturbed(module, place, (clean, shifted)):
            run = Pass(module, sources, options, store, place, effort_samples)
            run.over(clean, shifted, progress and ranks.rank == 0, ranks)
            rows, captured = put_together(run, store, ranks, clean)
            layers, skipped = run.layers()
            run.refuse_nothing_finite("sample pairs")
            warn_of_left_out(layers, {"sample pairs": run.finite})
            shown = progress and ranks.rank == 0
            return finished(run, after, (layers, skipped), (rows, captured), ranks, shown)


def model_device(module: nn.Module, wanted: torch.device | str | None) -> torch.device:
    tensors = (*module.parameters(), *module.buffers())
    if any(tensor.is_meta for tensor in tensors):
        raise InputError("the model is on the meta device, so it has no values: load its weights first")
    if wanted is None:
        return tensors[0].device if tensors else torch.device("cpu")
    try:
        place = torch.device(wanted)
    except RuntimeError as problem:
        raise InputError(
            f"device must be, for example, 'cpu' or 'cuda:0', not {wanted!r}: {problem}"
        ) from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {wanted!r}: CUDA is unavailable; run `hitl-fast doctor`")
    return place
