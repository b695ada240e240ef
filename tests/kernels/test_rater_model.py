"""Both models of ratings against their definition, against simulated truth, and at their edges."""

import math

import numpy as np
import pytest
import torch
from hitl_kernels.dawid_skene import cpu as category_cpu
from hitl_kernels.dawid_skene import dawid_skene
from hitl_kernels.dawid_skene import reference as category_reference
from hitl_kernels.rater_model import cpu, rater_model, reference
from hypothesis import given, settings
from hypothesis import strategies as st

# CPU and GPU against the reference: posteriors, and what maximisation makes of them
TOLERANCE = {"posterior": 1e-10, "parameter": 1e-9}
STEPS = 40  # both sides take as many: no stopping rule between them and the comparison

SHAPES = [(1, 1, 1), (1, 3, 3), (2, 2, 4), (7, 5, 20), (50, 11, 300), (97, 13, 97), (300, 1, 300)]


def ratings(n_items: int, n_raters: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Any ratings at all: items without one, raters without one, repeats."""
    generator = np.random.default_rng(n_items * 1000 + n)
    scores = np.round(generator.normal(3, 1.5, n) * 4) / 4
    return generator.integers(n_items, size=n), generator.integers(n_raters, size=n), scores


def standard(scores: np.ndarray) -> np.ndarray:
    return np.asarray((scores - scores.mean()) / max(scores.std(), 1e-300))


def simulated(
    seed: int, n_items: int = 400, n_raters: int = 20, each: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Raters with bias, scale and noise of their own; the first fifth answers at random."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(3, 0.8, n_items)
    bias, scale = generator.normal(0, 0.6, n_raters), np.exp(generator.normal(0, 0.35, n_raters))
    items = np.repeat(np.arange(n_items), each)
    raters = np.argsort(generator.random((n_items, n_raters)), 1)[:, :each].ravel()
    noise = generator.uniform(0.3, 0.9, n_raters)[raters] * generator.normal(size=items.size)
    scores = 3 + bias[raters] + scale[raters] * (truth[items] - 3) + noise
    spam = raters < n_raters // 5
    scores = np.where(spam, generator.uniform(1, 5, items.size), scores)
    return items, raters, np.clip(np.round(scores), 1, 5), truth


@pytest.mark.parametrize(("n_items", "n_raters", "n"), SHAPES)
def test_graded_equals_the_definition(n_items: int, n_raters: int, n: int) -> None:
    items, raters, scores = ratings(n_items, n_raters, n)
    arguments = (items, raters, standard(scores), n_items, n_raters, STEPS, 0.0)
    found, expected = cpu.graded(*arguments), reference.graded(*arguments)
    for mine, its in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=TOLERANCE["posterior"])
    for mine, its in zip(found[2:5], expected[2:5], strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=TOLERANCE["parameter"])


@pytest.mark.parametrize(("n_items", "n_raters", "n"), SHAPES)
@pytest.mark.parametrize("n_labels", [2, 5])
def test_categories_equal_the_definition(n_items: int, n_raters: int, n: int, n_labels: int) -> None:
    items, raters, scores = ratings(n_items, n_raters, n)
    labels = np.abs(scores * 4).astype(np.int64) % n_labels
    arguments = (items, raters, labels, n_items, n_raters, n_labels, STEPS, 0.0)
    found, expected = category_cpu.categories(*arguments), category_reference.categories(*arguments)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=TOLERANCE["posterior"])
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=TOLERANCE["parameter"])
    np.testing.assert_allclose(found[2], expected[2], rtol=0, atol=TOLERANCE["parameter"])


@pytest.mark.interpreter
@pytest.mark.parametrize(("n_items", "n_raters", "n"), [(1, 1, 1), (7, 5, 20), (13, 3, 300)])
def test_graded_triton_equals_the_definition(n_items: int, n_raters: int, n: int) -> None:
    from hitl_kernels.rater_model import gpu

    items, raters, scores = ratings(n_items, n_raters, n)
    y = standard(scores)
    expected = reference.graded(items, raters, y, n_items, n_raters, 4, 0.0)
    found = gpu.graded(*(torch.from_numpy(x) for x in (items, raters, y)), n_items, n_raters, 4, 0.0)
    for mine, its in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(mine.numpy(), its, rtol=0, atol=TOLERANCE["posterior"])
    for mine, its in zip(found[2:5], expected[2:5], strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=TOLERANCE["parameter"])


@pytest.mark.interpreter
@pytest.mark.parametrize(("n_items", "n_labels"), [(1, 2), (9, 3), (5, 11)])
def test_categories_triton_equal_the_definition(n_items: int, n_labels: int) -> None:
    from hitl_kernels.dawid_skene import gpu as category_gpu

    items, raters, scores = ratings(n_items, 4, 60)
    labels = np.abs(scores * 4).astype(np.int64) % n_labels
    expected = category_reference.categories(items, raters, labels, n_items, 4, n_labels, 3, 0.0)
    tensors = (torch.from_numpy(x) for x in (items, raters, labels))
    found = category_gpu.categories(*tensors, n_items, 4, n_labels, 3, 0.0)
    np.testing.assert_allclose(found[0].numpy(), expected[0], rtol=0, atol=TOLERANCE["posterior"])
    np.testing.assert_allclose(found[2], expected[2], rtol=0, atol=TOLERANCE["parameter"])


@pytest.mark.interpreter
def test_triton_segments_leave_poison_where_it_is() -> None:
    from hitl_kernels.rater_model import gpu

    keys = torch.tensor([2, 0, 2, 2])
    segments = gpu.Segments(keys, 4, torch.arange(4))
    column = torch.tensor([1.0, math.nan, 2.0, 3.0], dtype=torch.float64)
    sums = segments.sums(column, column * 2)
    assert sums[:, 0].nan_to_num(-1).tolist() == [-1, 0, 6, 0]
    assert sums[2].tolist() == [6, 12]


@pytest.mark.gpu
def test_the_device_agrees_and_repeats_itself() -> None:
    items, raters, scores, *_ = simulated(0)
    on_cpu = rater_model(items, raters, scores)
    tensors = [torch.from_numpy(x).cuda() for x in (items, raters, scores)]
    first, second = rater_model(*tensors), rater_model(*tensors)
    np.testing.assert_allclose(first.score, on_cpu.score, rtol=0, atol=TOLERANCE["parameter"])
    assert np.array_equal(first.score, second.score)
    labels = tensors[2].long() - 1
    cpu_labels = dawid_skene(items, raters, scores.astype(int) - 1)
    gpu_labels = dawid_skene(tensors[0], tensors[1], labels)
    np.testing.assert_allclose(gpu_labels.posterior, cpu_labels.posterior, rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", range(20))
def test_calibrated_scores_are_nearer_to_the_truth_than_means(seed: int) -> None:
    items, raters, scores, truth = simulated(seed)
    means = np.bincount(items, scores) / np.bincount(items)
    model = rater_model(items, raters, scores)
    error, of_means = (np.sqrt(np.mean((s - truth) ** 2)) for s in (model.score, means))
    assert error < of_means
    # The variance is about the truth in the raters' common units: what they all share cannot be told from it.
    slope, offset = np.polyfit(model.score, truth, 1)
    inside = np.abs(offset + slope * model.score - truth) < 1.96 * slope * np.sqrt(model.variance)
    assert 0.9 < inside.mean() < 0.99
    assert model.reliability[:4].max() < model.reliability[4:].min()


def test_each_step_raises_the_posterior() -> None:
    items, raters, scores, *_ = simulated(3, n_items=30, n_raters=6, each=3)
    y = standard(scores)

    def log_posterior(b: np.ndarray, a: np.ndarray, s: np.ndarray) -> float:
        total = 0.0
        for i in range(30):  # y of one item ~ N(b, diag(s) + a a')
            of = items == i
            r = raters[of]
            covariance = np.diag(s[r]) + np.outer(a[r], a[r])
            off = y[of] - b[r]
            total -= 0.5 * (np.linalg.slogdet(covariance)[1] + off @ np.linalg.solve(covariance, off))
        k = reference.PRIOR_RATINGS
        pull = b**2 + (a - reference.PRIOR_SLOPE) ** 2 + reference.PRIOR_NOISE
        return total - 0.5 * float((k * pull / s + 2 * k * np.log(s)).sum())

    values = [
        log_posterior(*reference.graded(items, raters, y, 30, 6, steps, 0.0)[2:5]) for steps in range(1, 12)
    ]
    assert np.all(np.diff(values) > -1e-9)
    assert values[-1] > values[0] + 0.1


def test_bias_and_scale_are_recovered() -> None:
    generator = np.random.default_rng(5)
    truth = generator.normal(0, 1, 3000)
    bias, scale = np.array([-0.5, 0.0, 0.5]), np.array([0.5, 1.0, 1.5])
    items, raters = np.repeat(np.arange(3000), 3), np.tile(np.arange(3), 3000)
    scores = bias[raters] + scale[raters] * truth[items] + 0.3 * generator.normal(size=9000)
    model = rater_model(items, raters, scores, tolerance=1e-4)
    np.testing.assert_allclose(np.diff(model.bias), [0.5, 0.5], atol=0.04)
    np.testing.assert_allclose(model.scale / model.scale[1], scale, atol=0.05)
    np.testing.assert_allclose(model.noise, 0.3, atol=0.03)
    np.testing.assert_allclose(model.reliability, scale**2 / (scale**2 + 0.09), atol=0.02)


def test_a_rater_who_turns_the_scale_round_is_used_the_other_way() -> None:
    items, raters, scores, truth = simulated(1)
    turned = np.where(raters == 19, 6 - scores, scores)
    model = rater_model(items, raters, turned)
    assert model.scale[19] < 0 < model.scale[18]
    assert np.corrcoef(model.score, truth)[0, 1] > 0.8


@pytest.mark.jit
def test_does_not_depend_on_order_or_threads() -> None:
    import numba

    items, raters, scores, *_ = simulated(2)
    shuffled = np.random.default_rng(0).permutation(items.size)
    model = rater_model(items, raters, scores)
    labels = dawid_skene(items, raters, scores.astype(int))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        other = rater_model(items[shuffled], raters[shuffled], scores[shuffled])
        other_labels = dawid_skene(items[shuffled], raters[shuffled], scores[shuffled].astype(int))
    finally:
        numba.set_num_threads(threads)
    assert np.array_equal(model.score, other.score)
    assert np.array_equal(model.variance, other.variance)
    assert np.array_equal(model.reliability, other.reliability)
    assert np.array_equal(labels.posterior, other_labels.posterior)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(
            st.tuples(st.integers(0, n), st.integers(0, 3), st.floats(-1e6, 1e6)), min_size=1, max_size=30
        )
    )
)
def test_any_ratings_give_finite_scores_within_reach(rows: list[tuple[int, int, float]]) -> None:
    items, raters, scores = (np.array(column) for column in zip(*rows, strict=True))
    model = rater_model(items, raters, scores, max_steps=30)
    for values in (model.score, model.variance, model.bias, model.scale, model.noise, model.reliability):
        assert np.isfinite(values).all()
    assert (model.variance >= 0).all()
    assert ((model.reliability >= 0) & (model.reliability <= 1)).all()


def test_scores_move_with_the_units() -> None:
    items, raters, scores, *_ = simulated(4)
    model, other = rater_model(items, raters, scores), rater_model(items, raters, 10 * scores - 7)
    np.testing.assert_allclose(other.score, 10 * model.score - 7, rtol=0, atol=1e-7)
    np.testing.assert_allclose(other.variance, 100 * model.variance, rtol=1e-6)
    np.testing.assert_allclose(other.scale, model.scale, rtol=1e-6)


def test_a_constant_rater_has_near_zero_weight() -> None:
    items, raters, scores, _ = simulated(6)
    constant = np.where(raters == 19, 3.0, scores)
    model = rater_model(items, raters, constant)
    assert model.reliability[19] < 0.05
    assert abs(model.scale[19]) < 0.05


def test_unrated_items_get_the_mean_and_all_the_variance() -> None:
    items, raters, scores, *_ = simulated(7)
    model = rater_model(
        torch.from_numpy(items), torch.from_numpy(raters), torch.from_numpy(scores), num_items=402
    )
    assert model.score.shape == (402,)
    assert model.variance[400] == model.variance.max()
    assert model.score[401] == pytest.approx(model.score[:400].mean(), abs=0.05)


def test_all_scores_equal() -> None:
    model = rater_model(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.full(4, 2))
    assert model.score.tolist() == [2, 2]
    assert model.variance.tolist() == [0, 0]


def test_dawid_skene_finds_simulated_classes_through_confused_raters() -> None:
    generator = np.random.default_rng(8)
    truth = generator.integers(3, size=300)
    honest, contrary = np.eye(3) * 0.7 + 0.1, np.roll(np.eye(3), 1, 1) * 0.9 + 0.1 / 3
    confusion = np.stack([honest, honest, honest, honest, contrary / contrary.sum(1, keepdims=True)])
    items, raters = np.repeat(np.arange(300), 5), np.tile(np.arange(5), 300)
    labels = np.array(
        [generator.choice(3, p=confusion[r, truth[i]]) for i, r in zip(items, raters, strict=True)]
    )
    model = dawid_skene(items, raters, labels)
    votes = category_reference.majority(items, labels, 300, 3).argmax(1)
    accuracy, of_votes = ((found == truth).mean() for found in (model.posterior.argmax(1), votes))
    assert accuracy > of_votes
    assert accuracy > 0.9
    np.testing.assert_allclose(model.confusion[4], confusion[4], atol=0.12)
    np.testing.assert_allclose(model.confusion.sum(2), 1, atol=1e-12)
    np.testing.assert_allclose(model.share, np.bincount(truth) / 300, atol=0.06)


def test_dawid_skene_without_answers_is_undecided() -> None:
    model = dawid_skene(np.array([0, 0]), np.array([0, 1]), np.array([1, 1]), num_items=2, num_labels=2)
    assert model.posterior[0, 1] > 0.9
    np.testing.assert_allclose(model.posterior[1], model.share)


def test_refuses_what_it_cannot_read() -> None:
    one = np.array([0, 1])
    with pytest.raises(TypeError, match="items must hold integers, not torch"):
        rater_model(np.array([0.0, 1.0]), one, one)
    with pytest.raises(TypeError, match="scores must hold numbers, not <U1"):
        rater_model(one, one, np.array(["a", "b"]))
    with pytest.raises(TypeError, match="scores must hold numbers, not torch"):
        rater_model(one, one, torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"raters must have shape \(n,\) with n >= 1, not \(0,\)"):
        rater_model(one, np.array([], dtype=int), one)
    with pytest.raises(ValueError, match="2 items but 3 raters"):
        rater_model(one, np.array([0, 1, 1]), one)
    with pytest.raises(ValueError, match=r"scores must have the shape of items, \(2,\), not \(3,\)"):
        rater_model(one, one, np.zeros(3))
    with pytest.raises(ValueError, match=r"scores\[1\] is nan"):
        rater_model(one, one, np.array([1.0, math.nan]))
    with pytest.raises(ValueError, match=r"items\[1\] is 1: expected 0 or more and below num_items = 1"):
        rater_model(one, one, one, num_items=1)
    with pytest.raises(ValueError, match=r"items\[0\] is -1: expected 0 or more and below the largest"):
        rater_model(np.array([-1, 0]), one, one)
    with pytest.raises(ValueError, match="2 items but 1 labels"):
        dawid_skene(one, one, np.array([0]))
    with pytest.raises(ValueError, match="max_steps must be 1 or more, not 0"):
        dawid_skene(one, one, one, max_steps=0)
    with pytest.raises(ValueError, match="tolerance must be 0 or more, not nan"):
        rater_model(one, one, one, tolerance=math.nan)
    with pytest.raises(ValueError, match="their squares leave float64"):
        rater_model(one, one, np.array([1e300, -1e300]))
    with pytest.raises(ValueError, match="their squares leave float64"):
        rater_model(one, one, np.array([1.7e308, 1.7e308]))


def test_threads_are_left_alone_in_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """GNU OpenMP ends a forked child that starts threads with SIGTERM."""
    from hitl_kernels import policy

    items, raters, scores = ratings(50, 11, 300)
    labels = (scores > 3).astype(np.int64)
    graded, judged = rater_model(items, raters, scores), dawid_skene(items, raters, labels)
    monkeypatch.setattr(policy, "WORK_PER_THREAD", 1)
    for kernel in (cpu._graded_pass, category_cpu._majority, category_cpu._category_pass):
        monkeypatch.setattr(kernel, "several", None)
    monkeypatch.setattr(policy, "_PID", -1)
    np.testing.assert_array_equal(rater_model(items, raters, scores).score, graded.score)
    np.testing.assert_array_equal(dawid_skene(items, raters, labels).posterior, judged.posterior)
