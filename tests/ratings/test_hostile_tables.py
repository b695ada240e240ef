"""Kinds of tables that were read as something else: each is read rightly, or refused with the column and a call."""

import json
from pathlib import Path
from typing import Any

import pytest

from hitl_fast.ratings import Ratings


def read(text: str | list[dict[str, Any]], folder: Path, name: str = "x.csv", **arguments: Any) -> Ratings:
    path = folder / name
    path.write_text(text if isinstance(text, str) else "\n".join(map(json.dumps, text)))
    return Ratings.read(path, **arguments)


def rows(found: Ratings) -> list[tuple[Any, ...]]:
    return list(zip(found.frame.item, found.frame.rater, found.frame.score, strict=True))


def long(*labels: str) -> str:
    return "item,rater,label\n" + "".join(f"{k // 2},r{k % 2},{label}\n" for k, label in enumerate(labels))


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        (("favor", "none", "against", "None"), None), (("pass", "fail", "pass", "pass"), [1, 0, 1, 1]),
        (("+", "-", "-", "+"), [1, 0, 0, 1]), (("present", "missing", "present", "missing"), [1, 0, 1, 0]),
        (("yes", "no", "none", "yes"), [1, 0, 1]), (("4", "pass", "3", "none"), [4, 3]), (("a", "-", "b", ""), [0, 1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wide", [False, True])
def test_words_for_nothing_are_labels_among_words(
    labels: tuple[str, ...], scores: list[float] | None, wide: bool, tmp_path: Path
) -> None:
    text = "item,r0,r1\n0,{},{}\n1,{},{}\n".format(*labels) if wide else long(*labels)
    found = read(text, tmp_path, raters=["r0", "r1"] if wide else None)
    if scores is None:
        assert found.categories == ("None", "against", "favor", "none")
        assert len(found) == 4
    else:
        assert found.frame.score.tolist() == scores


@pytest.mark.parametrize("inner", [[3, 4, 5], [3], [], [0.5, 1.0]])
def test_lists_of_numbers_are_refused(inner: list[float], tmp_path: Path) -> None:
    records = [{"id": 1, "scores": inner}, {"id": 2, "scores": [1, 1]}]
    with pytest.raises(ValueError, match="lists of numbers"):
        read(records, tmp_path, "x.jsonl")


FACTORS = {
    "model": ["gpt", "llama"], "metric": ["fluency", "adequacy"], "turn": ["1", "2"], "session": ["1", "2"],
}  # fmt: skip


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("wide", [False, True])
def test_a_column_that_tells_ratings_of_one_item_apart(name: str, wide: bool, tmp_path: Path) -> None:
    cells = [(i, f) for i in range(3) for f in FACTORS[name]]
    if wide:
        text = f"item,{name},ann,ben\n" + "".join(
            f"{i},{f},{k % 5},{k % 3}\n" for k, (i, f) in enumerate(cells)
        )
    else:
        both = [(i, f, r) for i, f in cells for r in ("ann", "ben")]
        text = f"item,{name},rater,score\n" + "".join(
            f"{i},{f},{r},{k % 5}\n" for k, (i, f, r) in enumerate(both)
        )
    arguments: dict[str, Any] = {"raters": ["ann", "ben"]} if wide else {}
    with pytest.raises(ValueError, match=rf"line \d: .*'{name}' .*'feature': '{name}'.*repeats='keep'"):
        read(text, tmp_path, **arguments)
    assert len(read(text, tmp_path, repeats="keep", **arguments)) == 12
    assert len(read(text, tmp_path, repeats="last", **arguments)) == 6
    told = read(text, tmp_path, columns={"feature": name}, **arguments)
    assert told.features == sorted(FACTORS[name])


def test_repeats_that_nothing_but_a_time_tells_apart_both_count(tmp_path: Path) -> None:
    text = "item,rater,timestamp,confidence,score\n" + "".join(
        f"{i},{r},20{k},{k / 7:.3f},{k}\n"
        for k, (i, r) in enumerate([(i, r) for i in (0, 0, 1, 1, 2, 2) for r in "ab"])
    )
    assert len(read(text, tmp_path)) == 12


def test_several_raters_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="raters names 'ann' twice"):
        read("item,ann,ben\na,4,5\n", tmp_path, raters=["ann", "ann"])


MTURK = "HITId,WorkerId,AssignmentStatus,Answer.q,Approve,Reject\nh,a,Submitted,3,x,\nh,b,Submitted,4,,spam\n"
TOLOKA = (
    "INPUT:image\tOUTPUT:q\tASSIGNMENT:worker_id\tASSIGNMENT:status\tACCEPT:verdict\n"
    "u\t3\ta\tSUBMITTED\t+\nu\t4\tb\tSUBMITTED\t-\nu\t5\tc\tSUBMITTED\t\n"
)


def test_what_the_requester_rejects_does_not_count(tmp_path: Path) -> None:
    found = read(MTURK, tmp_path)
    assert (rows(found), found.skipped.reason.tolist()) == ([("h", "a", 3)], ["rejected"])
    found = read(TOLOKA, tmp_path, "x.tsv")
    assert (rows(found), found.skipped.reason.tolist()) == ([("u", "a", 3), ("u", "c", 5)], ["rejected"])


@pytest.mark.parametrize("words", [False, True])
def test_previews_and_unfinished_responses_do_not_count(words: bool, tmp_path: Path) -> None:
    real, preview, yes, no = ("IP Address", "Survey Preview", "True", "False") if words else "0110"
    text = "StartDate,Status,Finished,ResponseId,Q1,Q2\n" + "".join(
        f"2024,{status},{finished},R{k},{k + 1},{k + 2}\n"
        for k, (status, finished) in enumerate([(real, yes), (preview, yes), (real, no)])
    )
    told: dict[str, Any] = {"format": "respondents", "question": ["Q1", "Q2"]}
    found = read(text, tmp_path, **told)
    assert rows(found) == [("Q1", "R0", 1), ("Q2", "R0", 2)]
    assert sorted(found.skipped.reason) == ["discarded", "discarded", "draft", "draft"]
    checked = "name,Q1,attention_check\nann,3,passed\nben,4,failed\n"
    told = {"format": "respondents", "question": "Q1"}
    with pytest.raises(ValueError, match="'attention_check' is 'failed'.*'status': 'attention_check'"):
        read(checked, tmp_path, **told)
    found = read(checked, tmp_path, columns={"rater": "name", "status": "attention_check"}, **told)
    assert rows(found) == [("Q1", "ann", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "Timestamp,How good is A?,How good is B?,Your name\n2024,4 - good,5 - best,Ann\n2025,2,3 - ok,Ben\n",
        "Zeitstempel,How good is A?,How good is B?\n2024,4,5\n",
        "StartDate,EndDate,RecordedDate,ResponseId,How good is A?,How good is B?\n1,2,3,R1,4,5\n",
    ],
)
def test_a_form_is_refused_with_the_call_of_forms(text: str, tmp_path: Path) -> None:
    questions = ["How good is A?", "How good is B?"]
    with pytest.raises(ValueError, match="format='respondents', question=") as refused:
        read(text, tmp_path)
    assert f"question={questions}" in str(refused.value)
    assert len(read(text, tmp_path, format="respondents", question=questions)) == 2 * (text.count("\n") - 1)


def choice(item: int, who: str, texts: list[str], accept: int) -> dict[str, Any]:
    options = [{"id": k, "text": text} for k, text in enumerate(texts)]
    return {"_input_hash": item, "_task_hash": item, "_session_id": who, "_view_id": "choice", "answer": "accept",
            "options": options, "accept": [accept]}  # fmt: skip


def test_options_that_differ_from_task_to_task_are_no_scores(tmp_path: Path) -> None:
    same = [choice(1, "a", ["bad", "good"], 0), choice(2, "a", ["bad", "good"], 1)]
    assert read(same, tmp_path, "p.jsonl").frame.score.tolist() == [0, 1]
    other = [choice(1, "a", ["Paris", "Rome"], 0), choice(2, "a", ["red", "blue"], 1)]
    with pytest.raises(ValueError, match="'accept' .*options that differ"):
        read(other, tmp_path, "p.jsonl")
    compare = [{"_input_hash": 1, "_session_id": "a", "_view_id": "compare", "answer": "accept"}]
    with pytest.raises(ValueError, match="'answer' .*comparison"):
        read(compare, tmp_path, "p.jsonl")


def test_comparisons(tmp_path: Path) -> None:
    text = "model_a,model_b,question,winner,rater\na,b,style,model_a,x\na,b,facts,model_b,x\n"
    with pytest.raises(ValueError, match="'question' .*'feature': 'question'.*'feature': None"):
        read(text, tmp_path)
    told = read(text, tmp_path, columns={"feature": "question"})
    assert told.comparisons.question.tolist() == ["style", "facts"]
    assert len(read(text, tmp_path, columns={"feature": None}).comparisons) == 2
    found = read("winner,loser,rater\na,b,x\nc,b,y\n", tmp_path)
    assert found.comparisons[["first", "second", "outcome"]].values.tolist() == [["a", "b", 1], ["c", "b", 1]]
    with pytest.raises(ValueError, match="line 2: 'a' is compared with itself"):
        read("first,second,winner\na,a,a\n", tmp_path)


def test_label_studio(tmp_path: Path) -> None:
    plain = "id,text,mood,annotator,annotation_id,lead_time\n"
    mixed = plain + '1,x,"{""choices"": [""a"", ""b""]}",1,10,3\n1,x,a,2,11,3\n'
    found = read(mixed, tmp_path)
    assert [(*r, f) for r, f in zip(rows(found), found.frame.feature, strict=True)] == [
        (1, 1, 1, "a"), (1, 1, 1, "b"), (1, 2, 1, "a"), (1, 2, 0, "b"),
    ]  # fmt: skip
    result = [{"from_name": "q", "type": "rating", "value": {"rating": 3}}]
    found = read([{"id": 5, "task": 11, "completed_by": 1, "result": result}], tmp_path, "s.jsonl")
    assert rows(found) == [(11, 1, 3)]


def test_mturk_answers_in_one_cell(tmp_path: Path) -> None:
    cells = [
        {"quality": {"1": False, "4": True}, "note": "fine", "mood": {"label": "sad"}},
        {"quality": {"1": True, "4": False}, "note": "", "mood": {"label": "glad"}},
    ]
    text = "HITId,WorkerId,AssignmentStatus,Answer.taskAnswers\n" + "".join(
        'h,w{},Approved,"{}"\n'.format(k, json.dumps([cell]).replace('"', '""'))
        for k, cell in enumerate(cells)
    )
    found = read(text, tmp_path)
    assert (rows(found), found.features) == ([("h", "w0", 4), ("h", "w1", 1)], [])
    assert read(text, tmp_path, question="mood").categories == ("glad", "sad")


def test_an_answer_that_does_not_fit_names_its_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 2: .* is 'DK', .*column 'score'.*labels="):
        read("item,rater,score\n1,a,DK\n1,b,4\n", tmp_path)


@pytest.mark.parametrize(
    "cell", ["[False]", "[True]", "{'a': False}", '["it\'s", "b"]', "{'a', 'b'}", "[None]"]
)
def test_lists_as_python_prints_them_are_no_labels(cell: str, tmp_path: Path) -> None:
    quoted = cell.replace('"', '""')
    with pytest.raises(ValueError, match="lists or objects.*labels="):
        read(f'item,rater,label\n1,a,"{quoted}"\n1,b,good\n2,a,good\n2,b,good\n', tmp_path)


def test_blank_lines_before_the_header(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.csv"):
        read("  \n" * 5 + "item,rater,score\na,x,4\n", tmp_path)


def test_an_item_called_overall_is_read_at_any_number_of_answers(tmp_path: Path) -> None:
    people = "".join(f"overall,p{i},{1 + i % 5}\n" for i in range(20_000))
    assert len(read("item,rater,score\nclarity,p0,3\nclarity,p1,5\n" + people, tmp_path).frame) == 20_002
