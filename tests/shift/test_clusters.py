"""Clusterings of embeddings: what is left out, and the error of those of a sample."""

import numpy as np
import pytest
import torch

from hitl_fast.shift.clusters import CLUSTERINGS, ClusterReport, cluster_tasks
from hitl_fast.shift.embedding_scores import Embedding, class_sums, linear_cka, probe_error


def embedding(n: int, seed: int = 0, noise: float = 1.0) -> Embedding:
    generator = np.random.default_rng(seed)
    classes = generator.permutation(np.arange(n) % 5)
    centres = np.random.default_rng(9).standard_normal((5, 8))
    rows = centres[classes] + noise * generator.standard_normal((n, 8))
    return Embedding(torch.from_numpy(rows.astype(np.float32)), classes, 5)


def reports(side: Embedding, restarts: int = 0) -> dict[str, ClusterReport | None]:
    sums = class_sums(side)
    tasks = cluster_tasks(side, side, lambda: (sums, sums), restarts)
    return {name: tasks[name]() if name in tasks else None for name in CLUSTERINGS}


def test_without_restarts_the_keys_stay() -> None:
    found, all_found = reports(embedding(300)), reports(embedding(300), restarts=2)
    assert list(found) == list(all_found)
    missing = [name for name, report in found.items() if report is None]
    assert missing == ["clean_kmeans++", "shifted_kmeans++"]
    for name in found.keys() - set(missing):
        assert found[name] == all_found[name]
        assert found[name].standard_error is None  # type: ignore[union-attr]


@pytest.mark.jit
def test_a_sample_has_the_error_that_other_samples_show() -> None:
    """The spread of ARI over 30 independent samples, against what each says of itself, on average."""
    found = []
    for seed in range(30):
        side = embedding(400, seed)
        drawn = np.random.default_rng(seed).choice(400, 400)
        side = Embedding(side.rows[drawn], side.classes[drawn], 5, sampled=True)
        found.append(reports(side)["clean"])
    spread = np.std([report.ari for report in found])  # type: ignore[union-attr]
    errors = [report.standard_error for report in found]  # type: ignore[union-attr]
    assert np.mean(errors) == pytest.approx(spread, rel=0.5)  # type: ignore[arg-type]


def test_a_subset_is_a_sample_of_rows_and_its_own_classes() -> None:
    whole = embedding(500)
    assert whole.subset(None) is whole
    assert whole.subset(500) is whole
    part = whole.subset(60)
    assert part.shape == (60, 8)
    assert (part.rows == whole.subset(60).rows).all()
    for row, code in zip(part.rows, part.classes, strict=True):
        (place,) = (whole.rows == row).all(1).nonzero()
        assert whole.classes[int(place)] == code
    few = Embedding(whole.rows[:9], np.arange(9) * 7, 63).subset(4)
    assert few.n_classes == 4
    assert set(few.classes) == {0, 1, 2, 3}


def test_a_subset_takes_labelled_rows_first_and_knows_which() -> None:
    whole = embedding(500)
    labelled = np.arange(500) % 5 == 3
    part = Embedding(whole.rows, np.where(labelled, whole.classes, 0), 5, labelled).subset(120)
    assert part.labelled is not None
    assert (int(part.labelled.sum()), part.sampled) == (100, True)
    known = part.known()
    assert torch.equal(known.rows, whole.rows[torch.from_numpy(labelled)])
    assert (known.classes == whole.classes[labelled]).all()


def test_scores_of_half_precision_are_near_those_of_float32() -> None:
    clean, shifted = embedding(600), embedding(600, noise=1.5)
    halves = [Embedding(side.rows.half(), side.classes, 5) for side in (clean, shifted)]
    assert linear_cka(*halves) == pytest.approx(linear_cka(clean, shifted), abs=1e-4)
    assert probe_error(halves[1]) == pytest.approx(probe_error(shifted), abs=3 / 600)
    ari = reports(clean)["clean"].ari  # type: ignore[union-attr]
    assert reports(halves[0])["clean"].ari == pytest.approx(ari, abs=0.02)  # type: ignore[union-attr]
