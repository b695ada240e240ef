"""Exports of crowdsourcing platforms, older tools and forms, and pairwise comparisons."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hitl_fast.ratings import Ratings

MTURK = (
    '"HITId","Title","AssignmentId","WorkerId","AssignmentStatus","WorkTimeInSeconds","Input.url","Answer.quality",'
    '"Answer.kind","Approve","Reject"\n'
    '"H0","t","A0","W0","Approved","43","a.png","4","cat"\n'  # MTurk leaves the last two cells out
    '"H0","t","A1","W1","Rejected","2","a.png","1","dog"\n'
    '"H1","t","A2","W0","Submitted","13","b.png","2","dog"\n'
)


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else "\n".join(map(json.dumps, content)))
    return path


def rows_of(ratings: Ratings) -> list[tuple[Any, ...]]:
    f = ratings.frame
    return list(zip(f.item, f.rater, f.feature, f.score, strict=True))


def test_mturk_as_it_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "b.csv", MTURK)
    found = Ratings.read(path)
    assert rows_of(found) == [("H0", "W0", "quality", 4), ("H1", "W0", "quality", 2)] or rows_of(found) == [
        ("H0", "W0", None, 4),
        ("H1", "W0", None, 2),
    ]
    assert found.frame.seconds.tolist() == [43, 13]
    assert set(found.skipped.reason) == {"rejected"}
    kinds = Ratings.read(path, question="Answer.kind", item="Input.url")
    assert kinds.categories == ("cat", "dog")
    assert kinds.frame.item.tolist() == ["a.png", "b.png"]
    padded = "\n".join(line + ',"",""' if k else line for k, line in enumerate(MTURK.strip().split("\n")))
    assert rows_of(Ratings.read(write(tmp_path / "p.csv", padded))) == rows_of(found)
    cut = MTURK.replace(',"2","dog"\n', "\n")
    with pytest.raises(ValueError, match=r"c\.csv, line 4: 7 cells where the header has 11"):
        Ratings.read(write(tmp_path / "c.csv", cut))
    with pytest.raises(ValueError, match=r"no column 'Answer\.size'; there are 'HITId'"):
        Ratings.read(path, question="size")


def test_toloka(tmp_path: Path) -> None:
    text = (
        "INPUT:image\tOUTPUT:score\tGOLDEN:score\tASSIGNMENT:worker_id\tASSIGNMENT:task_id\tASSIGNMENT:status\n"
        "a.png\t4\t\tw1\tt1\tAPPROVED\na.png\t5\t\tw2\tt1\tREJECTED\nb.png\t2\t3\tw1\tt2\tSUBMITTED\n"
    )
    found = Ratings.read(write(tmp_path / "t.tsv", text))
    assert rows_of(found) == [("t1", "w1", None, 4), ("t2", "w1", None, 2)]
    assert found.skipped.reason.tolist() == ["rejected"]
    assert found.ground_truth[["item", "score"]].values.tolist() == [["t2", 3.0]]
    without = text.replace("ASSIGNMENT:task_id", "ASSIGNMENT:link")
    assert Ratings.read(write(tmp_path / "i.tsv", without)).frame.item.tolist() == ["a.png", "b.png"]
    two = without.replace("INPUT:image", "INPUT:image\tINPUT:text").replace(".png\t", ".png\tx\t")
    with pytest.raises(ValueError, match=r"'INPUT:image' or 'INPUT:text' is the item.*columns="):
        Ratings.read(write(tmp_path / "j.tsv", two))


def test_appen_reads_the_questions_that_have_truths(tmp_path: Path) -> None:
    text = (
        "_unit_id,_golden,_tainted,_worker_id,relevance,relevance_gold,text_id\n"
        "1,false,false,7,1,,0\n1,false,true,8,3,,0\n2,true,false,7,2,2,1\n"
    )
    found = Ratings.read(write(tmp_path / "a.csv", text))
    assert rows_of(found) == [(1, 7, None, 1), (2, 7, None, 2)]
    assert found.skipped.reason.tolist() == ["rejected"]
    assert found.ground_truth.score.tolist() == [2]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("shape", ["list", "sequence"])
def test_argilla_1(shape: str, suffix: str, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = [
        {
            "text": f"t{i}", "external_id": f"e{i}", "quality-suggestion": 3,
            "quality-suggestion-metadata": {"agent": "m"},
            "quality": [{"user_id": u, "value": 3 + i, "status": s} for u, s in (("u1", "submitted"), ("u2", "draft"))],
        }
        for i in range(2)
    ]  # fmt: skip
    if shape == "sequence":
        for row in rows:
            row["quality"] = {k: [r[k] for r in row["quality"]] for k in ("user_id", "value", "status")}
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        write(path, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = Ratings.read(path)
    assert rows_of(found) == [("e0", "u1", None, 3), ("e1", "u1", None, 4)]
    assert found.skipped.reason.tolist() == ["draft", "draft"]
    assert found.predictions.score.tolist() == [3, 3]
    assert found.predictions.model.tolist() == ["m", "m"]


def test_doccano(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"id": 1, "text": "x", "label": ["good"], "annotator": "ann"},
        {"id": 1, "text": "x", "label": ["bad"], "annotator": "ben"},
        {"id": 2, "text": "y", "label": [], "annotator": "ben"},
    ]
    found = Ratings.read(write(tmp_path / "d.jsonl", records))
    assert rows_of(found) == [(1, "ann", None, 1), (1, "ben", None, 0)]
    assert found.skipped.reason.tolist() == ["empty"]
    old = [{"id": 3, "text": "x", "annotations": [{"label": 5, "user": 1}, {"label": 2, "user": 2}]}]
    assert rows_of(Ratings.read(write(tmp_path / "o.jsonl", old))) == [(3, 1, None, 1), (3, 2, None, 0)]
    assert Ratings.read(tmp_path / "o.jsonl").categories == (
        "label 2",
        "label 5",
    )  # numbers of labels are no scores
    spans = [{"id": 3, "text": "x", "label": [[0, 1, "X"]]}]
    with pytest.raises(ValueError, match=r"'label' \(spans\)"):
        Ratings.read(write(tmp_path / "s.jsonl", spans))


def test_label_studio_as_stored(tmp_path: Path) -> None:
    def stored(task: int, rater: int, score: int, **more: Any) -> dict[str, Any]:
        result = [{"from_name": "q", "to_name": "t", "type": "rating", "value": {"rating": score}}]
        return {
            "id": 10,
            "result": result,
            "completed_by": rater,
            "task": {"id": task, "data": {"x": "a"}},
            **more,
        }

    records = [stored(1, 7, 4), stored(2, 7, 2), stored(1, 8, 5), stored(2, 8, 1, was_cancelled=True)]
    found = Ratings.read(write(tmp_path / "s.jsonl", records))
    assert sorted(rows_of(found)) == [(1, 7, None, 4), (1, 8, None, 5), (2, 7, None, 2)]
    assert found.skipped.reason.tolist() == ["cancelled"]


def test_prodigy_spans_relations_and_markup(tmp_path: Path) -> None:
    def asked(task: int, start: int, answer: str, session: str = "s-anna") -> dict[str, Any]:
        spans = [{"start": start, "end": start + 2, "label": "X"}]
        return {"text": "ab cd", "spans": spans, "_input_hash": 5, "_task_hash": task, "answer": answer,
                "_session_id": session, "_view_id": "ner"}  # fmt: skip

    rows = [asked(1, 0, "accept"), asked(2, 3, "reject"), asked(1, 0, "reject", "s-ben")]
    found = Ratings.read(write(tmp_path / "p.jsonl", rows))
    assert found.frame.score.tolist() == [1, 0, 0]
    assert found.frame.item.nunique() == 2
    assert found.frame.item[0] == found.frame.item[2]
    same_hash = [asked(1, 0, "accept"), asked(1, 3, "reject")]
    assert Ratings.read(write(tmp_path / "h.jsonl", same_hash)).frame.item.nunique() == 2
    for view, marks in (("relations", {"relations": [{"head": 0}]}), ("relations", {}), ("ner_manual", {})):
        record = {**asked(1, 0, "accept"), "_view_id": view, "spans": [], **marks}
        with pytest.raises(ValueError, match=r"'answer' \(spans or other markup"):
            Ratings.read(write(tmp_path / "m.jsonl", [record]))


def test_one_row_a_respondent(tmp_path: Path) -> None:
    google = "Timestamp,Email Address,Image 1,Image 2,Age\n2026/1/1,a@x.org,4,2,30\n2026/1/2,b@x.org,5,,41\n"
    path = write(tmp_path / "g.csv", google)
    found = Ratings.read(path, "respondents", question=["Image 1", "Image 2"])
    assert rows_of(found) == [
        ("Image 1", "a@x.org", None, 4), ("Image 2", "a@x.org", None, 2), ("Image 1", "b@x.org", None, 5),
    ]  # fmt: skip
    assert list(found.unread) == ["Age"]
    with pytest.raises(ValueError, match=r"format='respondents', question=\['Image 1', 'Image 2', 'Age'\]"):
        Ratings.read(path, "respondents")
    qualtrics = (
        "StartDate,ResponseId,Q1,Q2\nStart Date,Response ID,How good is 1?,How good is 2?\n"
        '"{""ImportId"":""startDate""}","{""ImportId"":""_recordId""}","{""ImportId"":""QID1""}",'
        '"{""ImportId"":""QID2""}"\n2026-01-01,R_1,3,4\n2026-01-01,R_2,5,1\n'
    )
    path = write(tmp_path / "q.csv", qualtrics)
    with pytest.raises(ValueError, match=r"q\.csv: a form .*question=\['Q1', 'Q2'\]"):
        Ratings.read(path)
    found = Ratings.read(path, "respondents", question=["Q1", "Q2"])
    assert [row[:2] for row in rows_of(found)] == [("Q1", "R_1"), ("Q2", "R_1"), ("Q1", "R_2"), ("Q2", "R_2")]
    assert found.frame.score.tolist() == [3, 4, 5, 1]


PAIRS = (
    "question_id,model_a,model_b,winner,judge\n"
    "1,x,y,model_a,j1\n2,x,z,model_a,j1\n3,y,z,model_b,j2\n4,y,z,tie,j1\n5,z,y,tie (bothbad),j2\n6,x,y,,j2\n"
)


def test_pairwise_tables(tmp_path: Path) -> None:
    found = Ratings.read(write(tmp_path / "arena.csv", PAIRS))
    table = found.comparisons
    assert table.outcome.tolist() == [1, 1, 0, 0.5, 0.5]
    assert table[["first", "second", "rater"]].iloc[0].tolist() == ["x", "y", "j1"]
    assert found.skipped.reason.tolist() == ["empty"]
    assert len(found) == 0
    scores = found.aggregate("bradley_terry")
    assert scores.items.tolist() == ["x", "y", "z"]
    assert scores.score[0] > scores.score[2] > scores.score[1]
    assert "5 of 3 items by 2 raters; 2 ties" in found.summary()
    assert found.raters().n.tolist() == [3, 2]
    assert found.metrics()["comparisons"] == 5
    placed = Ratings.read(tmp_path / "arena.csv", items=["z", "y", "x"]).aggregate("bradley_terry")
    assert placed.items.tolist() == [0, 1, 2]
    assert placed.weights().argmax() == 2
    for refused in ("mean", "calibrated"):
        with pytest.raises(ValueError, match="pairwise comparisons.*bradley_terry"):
            found.aggregate(refused)
    with pytest.raises(ValueError, match="pairwise comparisons, and no ratings"):
        found.agreement()


@pytest.mark.parametrize(
    ("words", "outcomes"),
    [
        (("left", "right", "tie"), [1, 0, 0.5]), (("x", "z", "draw"), [1, 0, 0.5]),
        (("a", "b", "neither"), [1, 0, 0.5]),
        (("first", "second", "equal"), [1, 0, 0.5]),
    ],
)  # fmt: skip
def test_words_for_the_winner(words: tuple[str, ...], outcomes: list[float], tmp_path: Path) -> None:
    rows = "".join(f"{f},{s},{w},r\n" for f, s, w in zip("xyx", "yzz", words, strict=True))
    found = Ratings.read(write(tmp_path / "p.csv", "left,right,preferred,rater\n" + rows))
    assert found.comparisons.outcome.tolist() == outcomes
    bad = "left,right,preferred,rater\nx,y,1,r\nx,y,0,r\n"
    with pytest.raises(
        ValueError, match=r"line 2: '1' in column 'preferred' is neither 'x' nor 'y'.*labels="
    ):
        Ratings.read(write(tmp_path / "b.csv", bad))
    told = Ratings.read(tmp_path / "b.csv", labels={"1": 1, "0": 0})
    assert told.comparisons.outcome.tolist() == [1, 0]


def test_one_hot_winners_and_label_studio(tmp_path: Path) -> None:
    text = "model_a,model_b,winner_model_a,winner_model_b,winner_tie\nx,y,1,0,0\nx,y,0,0,1\nx,y,0,1,0\n"
    assert Ratings.read(write(tmp_path / "k.csv", text)).comparisons.outcome.tolist() == [1, 0.5, 0]
    part = {"from_name": "p", "type": "pairwise", "value": {"selected": "right"}}
    task = {"id": 1, "data": {"a": "m.png", "b": "n.png", "why": "?"},
            "annotations": [{"completed_by": 3, "result": [part]}]}  # fmt: skip
    path = write(tmp_path / "ls.json", json.dumps([task]))
    found = Ratings.read(path, columns={"first": "data.a", "second": "data.b"}).comparisons
    assert found[["first", "second", "rater", "outcome"]].values.tolist() == [["m.png", "n.png", 3, 0.0]]
    del task["data"]["why"]  # type: ignore[attr-defined]
    assert len(Ratings.read(write(path, json.dumps([task]))).comparisons) == 1


def test_raters_of_comparisons_who_answer_at_random(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    worth = generator.normal(0, 2, 12)
    rows = []
    for rater in ("ann", "ben", "spam"):
        for _ in range(120):
            a, b = generator.choice(12, 2, replace=False)
            p = 0.5 if rater == "spam" else 1 / (1 + np.exp(worth[b] - worth[a]))
            rows.append((f"i{a}", f"i{b}", "a" if generator.random() < p else "b", rater))
    path = tmp_path / "p.parquet"
    pd.DataFrame(rows, columns=["item_a", "item_b", "winner", "rater"]).to_parquet(path)
    table = Ratings.read(path).raters()
    assert table.action.to_dict() == {"ann": "", "ben": "", "spam": "drop"}
    assert "discrimination" in table.evidence["spam"]
