"""Files that were once read wrongly, lost or refused for the wrong reason, written anew."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_fast.ratings import Ratings

SCALES = {"quality": (1, 6), "percent": (60, 101)}


def rated(name: str, kind: str, value: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": "t", "type": kind, "value": {kind: value}}


def tasks(folder: Path, n: int, raters: int, answers: Any) -> Path:
    """A Label Studio export: ``answers(item, rater)`` are the parts of an annotation."""
    found = [
        {"id": i, "data": {"x": f"{i}.jpg"}, "annotations": [
            {"id": 100 * i + r, "completed_by": r, "lead_time": 3.0, "result": answers(i, r)} for r in range(raters)
        ]}
        for i in range(n)
    ]  # fmt: skip
    (path := folder / "tasks.json").write_text(json.dumps(found))
    return path


def test_two_questions_answered_at_random_do_not_agree(tmp_path: Path) -> None:
    """Pooled, their different ranges were taken for agreement."""
    g = np.random.default_rng(0)

    def at_random(i: int, r: int) -> list[dict[str, Any]]:
        return [
            rated("quality", "rating", int(g.integers(1, 6))),
            rated("percent", "number", int(g.integers(60, 101))),
        ]

    ratings = Ratings.read(tasks(tmp_path, 40, 3, at_random))
    summary = ratings.summary()
    assert "reliable" not in re.sub("not reliable|unreliable", "", summary)
    assert re.search(r"\b40 items\b", summary)
    assert "80 items" not in summary
    table = ratings.agreement_table(replicates=0)
    assert (table.alpha.abs() < 0.25).all()
    for name, (low, high) in SCALES.items():
        alone = ratings.only(name)
        assert low <= alone.scale[0] < alone.scale[1] < high
        weights = alone.aggregate("mean").weights(num_items=40, floor=0.1)
        assert weights.min() < 0.4  # of the question's own scale: pooled, all qualities were near the floor
        assert weights.max() > 0.6
    with pytest.raises(ValueError, match="quality.*percent"):
        ratings.aggregate("mean")


def test_two_criteria_of_one_scale_and_other_base_rates(tmp_path: Path) -> None:
    g = np.random.default_rng(1)

    def at_random(i: int, r: int) -> list[dict[str, Any]]:
        return [
            rated("fluency", "rating", int(g.integers(4, 6))),
            rated("depth", "rating", int(g.integers(1, 3))),
        ]

    ratings = Ratings.read(tasks(tmp_path, 40, 3, at_random))
    assert ratings.agreement_table(replicates=0).alpha.max() < 0.25
    assert ratings.only("depth").scale == (1, 2)
    with pytest.raises(ValueError, match="'depth' are 1 to 2, and all are 1 to 5.*scale="):
        ratings.importance(num_items=40, method="mean")


def test_two_choices_by_name_are_no_graded_scores(tmp_path: Path) -> None:
    moods, topics = ("Negative", "Neutral", "Positive"), ("animals", "sport", "travel", "weather")

    def chosen(i: int, r: int) -> list[dict[str, Any]]:
        mood, topic = moods[(i + r * (i % 3 == 0)) % 3], topics[i % 4]
        return [rated("sentiment", "choices", [mood]), rated("topic", "choices", [topic])]

    path = tasks(tmp_path, 8, 2, chosen)
    with pytest.raises(
        ValueError, match=r"question='sentiment'.*'sentiment' \(category\), 'topic' \(category\)"
    ):
        Ratings.read(path)
    both = Ratings.read(path, question=["sentiment", "topic"])
    topic = both.only("topic")
    assert topic.categories == topics
    for ratings in (topic, Ratings.read(path, question="topic")):
        with pytest.raises(ValueError, match="dawid_skene"):
            ratings.aggregate("mean")
    assert topic.aggregate("dawid_skene").labels == [topics[i % 4] for i in range(8)]


CHOICE = (
    "annotation_id,annotator,created_at,id,lead_time,sentiment,text,updated_at\n"
    "1,7,2026-01-01T00:00:00Z,1,2.5,Positive,great,2026-01-01T00:00:00Z\n"
    "2,8,2026-01-01T00:00:00Z,1,3.5,Negative,great,2026-01-01T00:00:00Z\n"
    "3,7,2026-01-01T00:00:00Z,2,2.5,Negative,bad,2026-01-01T00:00:00Z\n"
)


def test_one_choice_in_label_studio_csv(tmp_path: Path) -> None:
    (path := tmp_path / "c.csv").write_text(CHOICE)
    with pytest.raises(ValueError, match=r"'sentiment' \('Positive', 'Negative'\).*question='sentiment'"):
        Ratings.read(path)
    found = Ratings.read(path, question="sentiment")
    assert found.categories == ("Negative", "Positive")
    assert found.frame[["item", "rater", "score", "seconds"]].values.tolist() == [
        [1, 7, 1, 2.5], [1, 8, 0, 3.5], [2, 7, 0, 2.5],
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no answers to the question 'sentimnt'.*'sentiment'"):
        Ratings.read(path, question="sentimnt")


def test_a_batch_without_its_last_two_cells(tmp_path: Path) -> None:
    """With the columns that MTurk writes around the answer, of which several are numbers."""
    head = [
        "HITId",
        "HITTypeId",
        "Title",
        "Reward",
        "CreationTime",
        "MaxAssignments",
        "AssignmentDurationInSeconds",
        "AssignmentId",
        "WorkerId",
        "AssignmentStatus",
        "AcceptTime",
        "WorkTimeInSeconds",
        "LifetimeApprovalRate",
        "Input.emotion_label",
        "Input.id_str",
        "Answer.emotion.label",
        "Approve",
        "Reject",
    ]
    rows = [
        f'"H{i}","3YC","t","$0.01","Sat Feb 22 05:50:29 PST 2020","2","3600","A{i}{r}","W{r}","Approved",'
        f'"Sat Feb 22 05:52:38 PST 2020","{40 + r}","100% (26/26)","joy","{i}","{emotion}"'
        for i in range(3) for r, emotion in enumerate(("Fear", "Joy"))
    ]  # fmt: skip
    (path := tmp_path / "b.csv").write_text("\n".join([",".join(f'"{n}"' for n in head), *rows]))
    found = Ratings.read(path)
    assert found.categories == ("Fear", "Joy")
    assert found.frame.item.tolist() == ["H0", "H0", "H1", "H1", "H2", "H2"]
    assert found.frame.seconds.tolist() == [40, 41] * 3


def test_spans_of_one_text_do_not_replace_each_other(tmp_path: Path) -> None:
    def asked(start: int, end: int, task: int, answer: str) -> dict[str, Any]:
        spans = [{"start": start, "end": end, "label": "PRODUCT"}]
        return {"text": "iPhone or Nokia", "spans": spans, "_input_hash": 5,
                "_task_hash": task, "answer": answer, "_session_id": "db-anna", "_view_id": "ner"}  # fmt: skip

    def written(*records: dict[str, Any]) -> Path:
        (path := tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, records)))
        return path

    found = Ratings.read(written(asked(0, 6, 11, "accept"), asked(7, 9, 12, "reject")))
    assert found.frame.score.tolist() == [1, 0]
    assert found.skipped.empty
    relation = {**asked(0, 1, 1, "accept"), "relations": [{"head": 0, "child": 1, "label": "X"}]}
    with pytest.raises(ValueError, match="spans or other markup"):
        Ratings.read(written({**relation, "_view_id": "relations"}))
    manual = {**asked(0, 1, 1, "accept"), "_view_id": "ner_manual"}
    plain = {k: v for k, v in manual.items() if k != "spans"} | {
        "text": "c",
        "_input_hash": 2,
        "_task_hash": 2,
    }
    with pytest.raises(ValueError, match="spans or other markup"):
        Ratings.read(written(manual, plain))
