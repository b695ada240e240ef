"""Several questions are kept apart; raters are judged per question; intervals against the truth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hitl_kernels.dawid_skene import dawid_skene

from hitl_fast import cli
from hitl_fast.ratings import Ratings, simulated_ratings


def two_questions(seed: int = 0, n: int = 40) -> Ratings:
    """Quality from 1 to 5 and per cent from 60 to 100, both answered at random by three raters."""
    generator = np.random.default_rng(seed)
    items, raters = np.repeat(np.arange(n), 3), np.tile(np.arange(3), n)
    scores = [generator.integers(1, 6, 3 * n), generator.integers(60, 101, 3 * n)]
    names = ["quality"] * (3 * n) + ["percent"] * (3 * n)
    return Ratings.from_arrays(np.tile(items, 2), np.tile(raters, 2), np.concatenate(scores), features=names)


def test_each_question_has_an_agreement_a_scale_and_raters() -> None:
    ratings = two_questions()
    with pytest.raises(ValueError, match=r"2 questions were rated \('percent', 'quality'\).*agreement_table"):
        ratings.agreement()
    table = ratings.agreement_table(replicates=0)
    assert table.index.tolist() == ["percent", "quality"]
    for name in ("percent", "quality"):
        alone = ratings.only(name)
        assert table.alpha[name] == alone.agreement(replicates=0).alpha
        assert abs(table.alpha[name]) < 0.2
        assert ratings.questions[name].scale == alone.scale
    assert ratings.only("quality").scale == (1, 5)
    assert ratings.only("percent").aggregate("mean").weights(num_items=40).max() < 1
    raters = ratings.raters()
    assert raters.question.tolist() == ["percent"] * 3 + ["quality"] * 3
    alone = ratings.only("quality").raters()
    np.testing.assert_allclose(raters[raters.question == "quality"].bias, alone.bias)
    text = ratings.summary()
    assert "2 questions" in text
    assert "reliable" not in text.replace("too low to rely", "")
    assert set(ratings.metrics()) >= {"alpha/quality", "alpha/percent"}


def test_a_scale_for_each_question() -> None:
    ratings = two_questions()
    declared = {"quality": (1, 5), "percent": (0, 100)}
    f = ratings.frame
    found = Ratings.from_arrays(f.item, f.rater, f.score, features=f.feature, scale=declared)
    assert found.only("percent").scale == (0, 100)
    assert found.importance(num_items=40).max() <= 1
    with pytest.raises(ValueError, match=r"'percent' are 60 to 100, and all are 1 to 100.*scale="):
        ratings.importance(num_items=40)
    with pytest.raises(ValueError, match="60.* outside the scale 0 to 10|outside the scale 0 to 10"):
        Ratings.from_arrays(f.item, f.rater, f.score, features=f.feature, scale={"percent": (0, 10)})
    with pytest.raises(ValueError, match="scale names the question 'size'"):
        Ratings.from_arrays(f.item, f.rater, f.score, features=f.feature, scale={"size": (0, 10)})


def test_questions_are_combined_by_weight() -> None:
    items = [0, 1, 2, 0, 1]
    ratings = Ratings.from_arrays(
        items, ["a"] * 5, [1, 5, 3, 100, 0], features=["q", "q", "q", "p", "p"], scale={"q": (1, 5), "p": (0, 100)}
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"features or questions \(p, q\).*question='p'.*combine="):
        ratings.aggregate("mean")
    assert ratings.aggregate("mean", question="q").score.tolist() == [1, 5, 3]
    found = ratings.aggregate("mean", combine={"q": 3, "p": 1})
    assert found.scale == (0.0, 1.0)
    np.testing.assert_allclose(found.score, [0.25, 0.75, 0.75 * 0.5 + 0.25 * 0.5])  # item 2: the mean of p
    assert found.variance[2] > found.variance[0]
    for wrong in ({}, {"q": -1}, {"q": 0.0}):
        with pytest.raises(ValueError, match="combine must give questions weights"):
            ratings.aggregate("mean", combine=wrong)
    with pytest.raises(ValueError, match="question= or combine=, not both"):
        ratings.aggregate("mean", question="q", combine={"q": 1})
    with pytest.raises(ValueError, match="combine takes methods mean and calibrated"):
        ratings.aggregate("dawid_skene", combine={"q": 1})
    constant = Ratings.from_arrays([0, 1], ["a"] * 2, [3, 3], features=["q", "q"])
    with pytest.raises(ValueError, match="every score of 'q' is 3"):
        constant.aggregate("mean", combine={"q": 1})


def choices(tmp_path: Path) -> Path:
    def given(name: str, value: str) -> dict[str, Any]:
        return {"from_name": name, "to_name": "t", "type": "choices", "value": {"choices": [value]}}

    moods, topics = ("Negative", "Neutral", "Positive"), ("animals", "sport", "travel", "weather")
    tasks = [
        {"id": i, "data": {}, "annotations": [
            {"completed_by": r, "result": [given("mood", moods[(i + r) % 3]), given("topic", topics[i % 4])]}
            for r in range(2)
        ]}
        for i in range(8)
    ]  # fmt: skip
    path = tmp_path / "c.json"
    path.write_text(json.dumps(tasks))
    return path


def test_choices_keep_their_categories(tmp_path: Path) -> None:
    path = choices(tmp_path)
    with pytest.raises(ValueError, match="question='mood'.*'mood' .category.*'topic' .category"):
        Ratings.read(path)
    ratings = Ratings.read(path, question=["mood", "topic"])
    assert ratings.categories is None
    assert ratings.only("topic").categories == ("animals", "sport", "travel", "weather")
    table = ratings.agreement_table(replicates=0)
    assert table.level.tolist() == ["nominal", "nominal"]
    assert table.alpha["topic"] == 1
    with pytest.raises(ValueError, match="these are categories .animals"):
        ratings.aggregate("mean", question="topic")
    assert ratings.aggregate("dawid_skene", question="topic").labels[:2] == ["animals", "sport"]
    with pytest.raises(ValueError, match="is a choice of words, not a score"):
        ratings.importance(num_items=8)


def test_a_choice_in_label_studio_rows_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "ls.csv"
    path.write_text(
        "annotation_id,annotator,id,lead_time,sentiment,text\n1,7,1,2.5,Positive,great\n2,8,1,3.5,Negative,great\n"
    )
    with pytest.raises(ValueError, match=r"'sentiment' \('Positive', 'Negative'\).*--question sentiment"):
        Ratings.read(path)
    assert Ratings.read(path, question="sentiment").categories == ("Negative", "Positive")
    with pytest.raises(ValueError, match="'sentimnt'.*columns: 'sentiment', 'text'"):
        Ratings.read(path, question="sentimnt")


def test_raters_to_drop_and_to_train() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(1, 5, 60)
    given = {
        "fine": truth + generator.normal(0, 0.3, 60),
        "good": truth + generator.normal(0, 0.3, 60),
        "also": truth + generator.normal(0, 0.3, 60),
        "random": generator.uniform(1, 5, 60),
        "always3": np.full(60, 3.0),
        "high": truth + 2.5,
        "narrow": 3 + (truth - 3) * 0.1 + generator.normal(0, 0.02, 60),
    }
    scores = np.concatenate([np.clip(s, 1, 5) if n != "high" else np.clip(s, 1, 7) for n, s in given.items()])
    ratings = Ratings.from_arrays(np.tile(np.arange(60), 7), np.repeat(list(given), 60), scores, scale=(1, 7))
    table = ratings.raters()
    action = table.action.to_dict()
    assert {action[n] for n in ("fine", "good", "also")} == {""}
    assert {action[n] for n in ("random", "always3")} == {"drop"}
    assert {action[n] for n in ("high", "narrow")} == {"re-train"}
    assert "reliability" in table.evidence["random"]
    assert "above the consensus" in table.evidence["high"]
    assert "of the range" in table.evidence["narrow"]
    assert "drop: the same score on all 60" in ratings.summary()


def test_raters_of_categories_who_answer_at_random(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    labels = np.array(["ant", "bee", "cow"])
    truth = generator.integers(0, 3, 80)
    rows = []
    for rater, right in (("ann", 0.9), ("ben", 0.9), ("cy", 0.85), ("spam", 0.0)):
        said = np.where(generator.random(80) < right, truth, generator.integers(0, 3, 80))
        rows += [
            f"{i},{rater},{labels[k]},{labels[truth[i]] if i < 10 else ''}\n" for i, k in enumerate(said)
        ]
    path = tmp_path / "c.csv"
    path.write_text("item,rater,label,gold_label\n" + "".join(rows))
    table = Ratings.read(path).raters()
    assert table.action.to_dict() == {"ann": "", "ben": "", "cy": "", "spam": "drop"}
    assert "chance gives" in table.evidence["spam"]
    assert table.agreed["ann"] > 0.5 > table.chance["ann"]


@pytest.mark.jit
def test_intervals_hold_the_truth_unless_raters_share_a_wrong_belief() -> None:
    """What `Priorities` says of its variance: independent errors are covered, shared ones are not, and truths tell."""
    held: dict[str, list[float]] = {"independent": [], "shared": [], "misled": [], "with truths": []}
    for seed in range(12):
        generator = np.random.default_rng(seed)
        truth = generator.normal(3, 1, 200)
        misled = generator.random(200) < 0.2
        belief = np.where(misled, 6 - truth, truth)
        items, raters = np.tile(np.arange(200), 3), np.repeat(np.arange(3), 200)
        for name, seen in (("independent", [truth] * 3), ("shared", [belief, belief, truth])):
            scores = np.concatenate([s + generator.normal(0, 0.5, 200) for s in seen])
            ratings = Ratings.from_arrays(items, raters, scores)
            found = ratings.aggregate("calibrated")
            inside = np.abs(found.score - truth) < 1.96 * np.sqrt(found.variance)
            held[name].append(inside.mean())
            if name == "shared":
                held["misled"].append(inside[misled & (np.abs(truth - 3) > 0.75)].mean())
                known = np.arange(0, 200, 4)
                table = {"item": known, "feature": [None] * known.size, "score": truth[known]}
                from dataclasses import replace

                from hitl_fast.ratings.identity import frame

                told = replace(ratings, ground_truth=frame({k: np.asarray(v, dtype=object if k == "feature" else None)
                                                            for k, v in table.items()}))  # fmt: skip
                wider = told.aggregate("calibrated")
                assert wider.overdispersion > 2
                assert "ground truth" in wider.notes[-1]
                inside = np.abs(wider.score - truth) < 1.96 * np.sqrt(wider.variance)
                held["with truths"].append(inside.mean())
    means = {name: float(np.mean(values)) for name, values in held.items()}
    assert 0.9 < means["independent"] <= 1.0
    assert means["shared"] < 0.88  # of 0.95 claimed
    assert means["misled"] < 0.25
    assert means["with truths"] > 0.9


@pytest.mark.parametrize("seed", [1, 9])
@pytest.mark.parametrize("steps", [1, 30])
def test_dawid_skene_equals_crowd_kit(seed: int, steps: int) -> None:
    """Given the 0.01 of an answer that ours adds to each cell, which crowd-kit has as 0."""
    import warnings

    import pandas as pd
    from crowdkit.aggregation import DawidSkene

    class Smoothed(DawidSkene):  # type: ignore[misc]
        @staticmethod
        def _m_step(data: Any, probas: Any, *_: Any) -> Any:
            counts = data.join(probas, on="task").drop(columns="task").groupby(["worker", "label"]).sum()
            names = [sorted(data.worker.unique()), sorted(data.label.unique())]
            cells = pd.MultiIndex.from_product(names, names=["worker", "label"])
            counts = counts.reindex(cells, fill_value=0.0) + 0.01
            return counts / counts.groupby("worker").transform("sum")

        @staticmethod
        def _e_step(data: Any, priors: Any, errors: Any) -> Any:
            count = priors * data.task.nunique() + 0.01
            return DawidSkene._e_step(data, count / count.sum(), errors)

    truth = np.random.default_rng(seed).uniform(1, 5, 120)
    frame = simulated_ratings(truth, raters=8, each=5, seed=seed).frame
    labels = frame.score.to_numpy().astype(np.int64) - 1
    ours = dawid_skene(frame.item.to_numpy(), frame.rater.to_numpy(), labels, max_steps=steps, tolerance=0)
    table = pd.DataFrame({"task": frame.item, "worker": frame.rater, "label": labels})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what crowd-kit asks of pandas
        theirs = Smoothed(n_iter=steps, tol=-1e30).fit(table)
    expected = theirs.probas_.sort_index()[sorted(theirs.probas_.columns)].to_numpy()
    np.testing.assert_allclose(ours.posterior, expected, rtol=0, atol=1e-6)


def test_options_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,clear,new\n1,x,low,1\n1,y,high,2\n2,x,low,3\n2,x,high,5\n")
    columns = ["--columns", "item=a", "rater=b"]
    read = ["ratings", "summary", str(path)]
    assert cli.main([*read, *columns, "--score", "clear", "--labels", "low=0", "high=3"]) == 0
    assert "scores 0 to 3" in capsys.readouterr().out
    assert cli.main([*read, *columns, "--score", "new", "--repeats", "last"]) == 0
    assert "1 replaced" in capsys.readouterr().out
    path.write_text("item,rater,clear,new\n1,x,0,1\n1,y,2,2\n2,x,3,3\n2,y,3,5\n")
    both = ["--question", "clear", "--question", "new", "--combine", "clear=1", "new=2"]
    assert cli.main([*read, *both, "--method", "mean"]) == 0
    assert "highest     2 0.83, 1 0.19" in capsys.readouterr().out
    for wrong, named in ((["--columns", "item"], "ROLE=COLUMN"), (["--labels", "low"], "NAME=NUMBER")):
        assert cli.main([*read, *wrong]) == 2
        assert named in capsys.readouterr().err
