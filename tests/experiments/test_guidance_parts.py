"""What the guidance experiment is made of: synthetic data defects, texts, raters, conditions and their cost."""

from pathlib import Path

import numpy as np
import pytest
import torch
from absent import skip_without

from hitl_fast._common.bootstrap import Interval
from hitl_fast.experiments.common import text
from hitl_fast.experiments.guidance.breakeven import Prices, runs_to_break_even, size_to_break_even
from hitl_fast.experiments.guidance.conditions import CONDITIONS, FIRST, HUMAN
from hitl_fast.experiments.guidance.defects import Defects, plant
from hitl_fast.experiments.guidance.raters import (
    Crew,
    Guidance,
    guidance_from,
    simulated_guidance,
    write_export,
    write_feature_export,
)
from hitl_fast.experiments.guidance.tasks import Sizes, available, make
from hitl_fast.experiments.guidance.training import Recipe, step_flops, train
from hitl_fast.experiments.guidance.training_cost import Spending

SIZES = Sizes(80, 40, 40)
RECIPE = Recipe(steps=6, batch=16, every=2, target=0.05, rate=2e-3, penalty_every=2)
PERFECT = Crew(bias=0.0, scale=0.0, jitter=0.0, noise=0.0, spam=0.0)
OAK = "a deciduous tree of the genus Quercus; has acorns and lobed leaves"
LINES = """\
  1 This software and database is being provided to you
00000001 05 n 01 cat 0 000 @ | feline mammal with thick soft fur; "the cat sat"
00000002 20 n 01 oak 0 000 @ | a deciduous tree that has acorns
00000003 20 n 01 oak 0 000 @ | feline mammal with thick soft fur
00000004 03 n 01 thing 0 000 @ | an entity that is not named
00000005 05 n 01 x 0 000 @ | too short
"""


@pytest.fixture
def no_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    text.load.cache_clear()
    yield tmp_path
    text.load.cache_clear()


@pytest.fixture
def made_up_texts(no_texts: Path) -> None:
    """A WordNet of invented nouns whose definitions have words of their topic."""
    lines = []
    for i in range(8 * 60):
        topic, file = i % 8, list(text.TOPICS.values())[i % 8]
        words = " ".join(f"t{'abcdefgh'[topic]}{'abcdefghij'[(i // 8 + j) % 10]}" for j in range(3))
        lines.append(
            f"{i:08d} {file:02d} n 01 w 0 000 @ | a {words} q{'abcdefghijklmnopqrst'[i % 20]} x{'x' * (i // 20)}"
        )
    (no_texts / "data.noun").write_text("\n".join(lines) + "\n")


def test_trouble_is_added_in_the_amounts_asked_for() -> None:
    labels = np.repeat(np.arange(4), 100)
    split = plant(labels, Defects(0.25, 4.0, 0.3, 0.5), pool=100, validation=40, test=60, seed=1)
    true = labels[split.source]
    assert split.copy.sum() == 30
    assert split.wrong.sum() == 25
    assert split.marked.sum() == 50
    assert np.array_equal(split.wrong, split.label != true)
    assert len(np.unique(split.source[~split.copy])) == 70
    assert set(split.source[split.copy]) <= set(split.source[~split.copy])
    counts = np.bincount(true[~split.copy], minlength=4)
    assert sorted(counts) == [7, 7, 28, 28]
    assert not split.rare[split.copy].any()
    for rows, each in ((split.validation, 10), (split.test, 15)):
        assert np.bincount(labels[rows]).tolist() == [each] * 4
    assert not set(split.source) & set(split.validation)
    assert not set(split.test) & (set(split.source) | set(split.validation))
    assert (split.importance[split.wrong] == 1).all()
    assert (split.importance[split.copy & ~split.wrong] == 2).all()
    assert (split.importance[split.rare & ~split.wrong] == 5).all()
    assert (split.importance[~(split.rare | split.wrong | split.copy)] == 4).all()


def test_nothing_added_is_a_plain_split() -> None:
    labels = np.repeat(np.arange(4), 50)
    split = plant(labels, Defects(0.0, 1.0, 0.0), pool=80, validation=40, test=40)
    assert np.array_equal(split.label, labels[split.source])
    assert np.bincount(split.label).tolist() == [20] * 4
    assert (split.importance == 4).all()


@pytest.mark.parametrize(
    ("defects", "pool", "message"),
    [
        (Defects(label_noise=1.0), 10, "label_noise must be from 0 to below 1, not 1.0"),
        (Defects(redundancy=-0.1), 10, "redundancy"),
        (Defects(imbalance=0.5), 10, "imbalance must be 1 or more"),
        (Defects(0.0, 1.0, 0.0), 1000, "rows left and"),
    ],
)
def test_planting_refuses(defects: Defects, pool: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plant(np.repeat(np.arange(2), 50), defects, pool=pool, validation=4, test=4)


def test_glosses_are_definitions_without_examples(tmp_path: Path) -> None:
    path = tmp_path / "data.noun"
    path.write_text(LINES)
    found = text.glosses(path)
    assert found.texts == ("feline mammal with thick soft fur", "a deciduous tree that has acorns")
    assert [found.topics[label] for label in found.labels] == ["animal", "plant"]
    path.write_text(LINES + "nonsense\n")
    with pytest.raises(ValueError, match="line 7"):
        text.glosses(path)


def test_wordnet_of_this_machine() -> None:
    if not any((Path(folder) / "data.noun").is_file() for folder in text.FOLDERS):
        skip_without("WordNet", "wordnet-base")
    text.load.cache_clear()
    data = text.load()
    assert np.bincount(data.labels, minlength=8).min() > 2000
    assert data.topics[data.labels[data.texts.index(OAK)]] == "plant"


def test_texts_that_are_not_there_are_named(no_texts: Path) -> None:
    assert "apt-get install wordnet-base" in available("text")
    with pytest.raises(FileNotFoundError, match="20 Newsgroups"):
        text.load()


def test_newsgroups_take_the_place_of_wordnet(no_texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.datasets
    from sklearn.utils import Bunch

    def fetch(**options: object) -> Bunch:
        assert options["download_if_missing"] is False
        return Bunch(
            data=["God is great", "too short", "the goalie saved it"],
            target=[1, 0, 0],
            target_names=["hockey", "religion"],
        )

    monkeypatch.setattr(sklearn.datasets, "fetch_20newsgroups", fetch)
    data = text.load()
    assert data.texts == ("God is great", "the goalie saved it")
    assert data.labels.tolist() == [1, 0]


def test_words_are_numbered_by_frequency() -> None:
    texts = [["b", "a"], ["b", "c"]]
    assert text.vocabulary(texts, 2) == ["b", "a"]
    assert text.encode(texts, {"b": 2, "a": 3}, 3).tolist() == [[2, 3, 0], [2, 1, 0]]


@pytest.mark.parametrize("name", ["image", "text"])
def test_a_task_comes_from_its_seed(name: str, made_up_texts: None) -> None:
    defects = Defects(marks=0.5)
    task, same, other = (make(name, SIZES, defects, seed) for seed in (3, 3, 4))
    assert torch.equal(task.inputs, same.inputs)
    assert torch.equal(task.labels, same.labels)
    assert not torch.equal(task.labels, other.labels)
    assert len(task) == 80
    assert task.feature_truth.min() == 1
    assert task.feature_truth.max() == 5
    logits = task.model()(task.inputs)
    assert logits.shape == (80, len(task.classes))
    importance = torch.rand(len(task.features))
    spread = task.spread(importance)(task.inputs)
    assert torch.broadcast_shapes(spread.shape, task.model().embed(task.inputs).shape)
    with pytest.raises(ValueError, match="task must be one of image, text"):
        make("sound", SIZES, defects, 0)


def test_marks_tell_the_label_of_the_pool_and_nothing_elsewhere(made_up_texts: None) -> None:
    task = make("image", SIZES, Defects(0.0, 1.0, 0.0, marks=0.9), 0)
    for i in np.flatnonzero(task.split.marked):
        row, column = divmod(int(task.labels[i]), 5)
        top = 0 if row == 0 else 24
        assert (task.inputs[i, 0, top : top + 4, 4 * column + 4 : 4 * column + 8] == 1).all()
    words = make("text", SIZES, Defects(0.0, 1.0, 0.0, marks=0.9), 0)
    for i in np.flatnonzero(words.split.marked):
        assert words.inputs[i, 0] == 2 + words.labels[i]
    held, labels = words.validation
    assert (held[:, 0] - 2 != labels).float().mean() > 0.5
    assert (words.feature_truth[:8] == 1).all()


def test_near_copies_are_near_and_not_equal(made_up_texts: None) -> None:
    task = make("image", SIZES, Defects(0.0, 1.0, 0.4), 0)
    source, copy = task.split.source, task.split.copy
    for i in np.flatnonzero(copy):
        original = task.inputs[int(np.flatnonzero((source == source[i]) & ~copy)[0])]
        distance = float((task.inputs[i] - original).square().mean())
        assert 0 < distance < 0.0025


def test_an_export_is_read_back_as_any_export_is(tmp_path: Path) -> None:
    truth = np.array([1.0, 2.0, 4.0, 5.0] * 20)
    write_export(tmp_path / "ratings.csv", truth, PERFECT, seed=0)
    lines = (tmp_path / "ratings.csv").read_text().splitlines()
    assert lines[0] == "item,rater,score,seconds"
    assert len(lines) == 1 + 80 * 3
    assert all(",simulated-" in line for line in lines[1:])
    found = guidance_from(tmp_path / "ratings.csv", 80, scale=(1.0, 5.0))
    assert np.allclose(found.weights, np.tile([0.1, 0.325, 0.775, 1.0], 20), atol=0.05)
    assert found.ratings == 240
    assert found.importance is None
    assert found.minutes == pytest.approx(sum(float(line.split(",")[3]) for line in lines[1:]) / 60)


def test_features_are_rated_for_the_whole_task(tmp_path: Path) -> None:
    write_feature_export(
        tmp_path / "features.csv", ("ear", "tail", "sky"), np.array([5.0, 3.0, 1.0]), PERFECT, seed=0
    )
    found = guidance_from(tmp_path / "features.csv", 4, ("sky", "grass", "tail", "ear"), scale=(1.0, 5.0))
    assert found.importance is not None
    assert found.importance.tolist() == pytest.approx([0.0, 1.0, 0.5, 1.0], abs=0.1)
    assert found.weights.tolist() == [1.0] * 4
    assert (found.ratings, found.feature_ratings) == (0, 9)
    assert found.feature_minutes > 0


def test_items_and_features_in_one_export_by_one_rater(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("item,feature,rater,score\n0,,me,1\n1,,me,5\n,ear,me,5\n,tail,me,1\n")
    found = guidance_from(path, 3, ("ear", "tail"), seconds=6.0)
    assert found.weights.tolist() == pytest.approx([0.1, 1.0, 0.55])
    assert found.importance is not None
    assert found.importance.tolist() == [1.0, 0.0]
    assert (found.minutes, found.feature_minutes) == (pytest.approx(0.2), pytest.approx(0.2))


def test_noise_and_coverage_are_what_they_say(tmp_path: Path) -> None:
    truth = np.tile([1.0, 5.0], 400)
    for noise, expected in ((0.0, 0.0), (0.5, 0.4), (1.0, 0.8)):
        write_export(tmp_path / "r.csv", truth, Crew(12, 3, 0.0, 0.0, 0.0, noise, 0.0), seed=2)
        rows = [line.split(",") for line in (tmp_path / "r.csv").read_text().splitlines()[1:]]
        off = np.mean([float(score) != truth[int(item)] for item, _, score, _ in rows])
        assert off == pytest.approx(expected, abs=0.04)
    write_export(tmp_path / "r.csv", truth, Crew(coverage=0.05), seed=2)
    assert len({line.split(",")[0] for line in (tmp_path / "r.csv").read_text().splitlines()[1:]}) == 40
    assert "noise 10%" in str(Crew())


def test_raters_at_full_noise_say_next_to_nothing() -> None:
    task = make("image", Sizes(200, 20, 20), Defects(), 0)
    weights = simulated_guidance(task, Crew(noise=1.0), 0).weights
    told = simulated_guidance(task, PERFECT, 0).weights
    assert weights.std() < 0.4 * told.std()
    assert (
        abs(np.corrcoef(weights, task.split.importance)[0, 1])
        < 0.2
        < np.corrcoef(told, task.split.importance)[0, 1]
    )


@pytest.mark.parametrize("name", ["image", "text"])
@pytest.mark.parametrize("condition", sorted(FIRST))
def test_every_arm_trains_and_is_repeated_by_its_seed(name: str, condition: str, made_up_texts: None) -> None:
    task = make(name, SIZES, Defects(), 0)
    guidance = Guidance(
        task.split.importance / 5, torch.linspace(0, 1, len(task.features)), ratings=1, minutes=1.0,
        feature_ratings=1, feature_minutes=1.0,
    )  # fmt: skip
    state = torch.get_rng_state()
    spending = Spending()
    outcome = train(task, CONDITIONS[condition], guidance, RECIPE, 5, spending)
    assert outcome == train(task, CONDITIONS[condition], guidance, RECIPE, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(outcome.curve) == 3
    assert outcome.steps_to_target is not None
    assert outcome.curve[outcome.steps_to_target // 2 - 1] >= 2
    measured = spending.measured()
    assert 0 < measured["training_cpu_seconds_to_target"] <= measured["training_cpu_seconds"]
    assert "joules" not in measured


def test_what_arms_add_is_counted() -> None:
    task = make("image", SIZES, Defects(), 0)
    guidance = Guidance(np.ones(80), torch.zeros(49), 0, 0.0, 1, 1.0)
    plain, nothing = step_flops(task, CONDITIONS["uniform"], None, RECIPE)
    assert nothing == 0
    assert step_flops(task, CONDITIONS["sampler+loss"], guidance, RECIPE) == (plain, 0)
    penalised, _ = step_flops(task, CONDITIONS["features"], guidance, RECIPE)
    assert plain < penalised < 2 * plain
    per_step, per_epoch = step_flops(task, CONDITIONS["automatic"], None, RECIPE)
    assert per_step == plain
    # An epoch of 5 batches of 16 costs its 80 samples forward and back; forward alone is about a third of that.
    assert 0.25 < per_epoch / (5 * plain) < 0.45
    outcome = train(task, CONDITIONS["automatic"], None, RECIPE, 0)
    assert outcome.flops(5) == 5 * plain
    assert outcome.flops(6) == 6 * plain + per_epoch


def test_a_target_out_of_reach_is_never_reached() -> None:
    task = make("image", SIZES, Defects(), 0)
    recipe = Recipe(2, 16, 2, 1.0, 1e-4, 1)
    spending = Spending()
    outcome = train(task, CONDITIONS["uniform"], None, recipe, 0, spending)
    assert outcome.steps_to_target is None
    assert outcome.test_right_at_target is None
    assert set(spending.measured()) == {"training_cpu_seconds"}


def test_arms_that_ask_people_need_their_answers() -> None:
    task = make("image", SIZES, Defects(), 0)
    for condition in (*HUMAN, "random_priority"):
        with pytest.raises(ValueError, match="needs ratings"):
            train(task, CONDITIONS[condition], None, RECIPE, 0)
    only_samples = Guidance(np.ones(80), None, 1, 1.0, 0, 0.0)
    with pytest.raises(ValueError, match="ratings of features"):
        train(task, CONDITIONS["features"], only_samples, RECIPE, 0)
    with pytest.raises(ValueError, match="3 weights for 80 samples"):
        train(task, CONDITIONS["sampler"], Guidance(np.ones(3), None, 1, 1.0, 0, 0.0), RECIPE, 0)


def test_break_even_is_the_formula() -> None:
    prices = Prices(wage=20.0, watts=36.0, kwh=0.36, flops_per_joule=1e10, exaflop=0.0)
    saved = Interval(1e6, -1e5, 2e6)
    # An hour: 36 W x 3600 s = 129,600 J against 1e6 samples x 1e6 operations / 1e10 = 100 J a run.
    runs = runs_to_break_even(60, saved, 1e6, prices, "joules")
    assert (runs.value, runs.low, runs.high) == (1296, 648, float("inf"))
    # 20 in money against 100 J x 0.36 / 3.6e6 J = 1e-5 a run.
    assert runs_to_break_even(60, saved, 1e6, prices, "money").value == pytest.approx(2e6)
    assert size_to_break_even(60, saved, 1296, prices, "joules").value == pytest.approx(1e6)
    assert runs_to_break_even(60, Interval(-1.0, -2.0, -0.5), 1e6, prices, "joules").value == float("inf")
    assert runs_to_break_even(0, Interval(1.0, 0.5, 2.0), 1e6, prices, "joules").value == 0
    with pytest.raises(ValueError, match="wage"):
        Prices(wage=-1.0)
    with pytest.raises(ValueError, match="flops_per_joule must be above 0"):
        Prices(flops_per_joule=0.0)
