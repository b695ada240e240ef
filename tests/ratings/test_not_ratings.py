"""What stands beside ratings in exports: copies, verdicts under any name, ages, numbered rows, sides of comparisons."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from exports import advised
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_fast.ratings import Ratings

MTURK = "HITId,AssignmentId,WorkerId,AssignmentStatus,Input.url,Answer.quality\n"
APPEN = "_unit_id,_id,_worker_id,_golden,quality\n"
TOLOKA = "INPUT:image\tOUTPUT:quality\tASSIGNMENT:assignment_id\tASSIGNMENT:worker_id\tASSIGNMENT:status\n"
COPIES = {
    "mturk": (MTURK, ["h,A1,w1,Approved,u,4", "h,A2,w2,Approved,u,5", "g,A3,w1,Approved,v,1"], "'AssignmentId'"),
    "appen": (APPEN, ["1,11,7,false,4", "1,12,8,false,5", "2,13,7,true,1"], "'_id'"),
    "toloka": (TOLOKA, ["a\t4\tk1\tw\tAPPROVED", "b\t5\tk1\tw\tAPPROVED", "a\t1\tk2\tv\tAPPROVED"],
               "'ASSIGNMENT:assignment_id' and 'INPUT:image'"),
    "a time": ("item,rater,score,submittedAt\n", ["a,x,4,10:01", "a,y,5,10:02", "b,x,1,10:03"], "'submittedAt'"),
    "an id": ("item,rater,score,assignment\n", ["a,x,4,k1", "a,y,5,k2", "b,x,1,k3"], "'assignment'"),
}  # fmt: skip


def write(folder: Path, text: str, name: str = "x.csv") -> Path:
    (path := folder / name).write_text(text)
    return path


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("copied", [0, 1, 2])
def test_two_downloads_in_one_file(kind: str, copied: int, tmp_path: Path) -> None:
    head, rows, key = COPIES[kind]
    assert len(Ratings.read(write(tmp_path, head + "\n".join(rows)))) == 3
    path = write(tmp_path, head + "\n".join([*rows, rows[copied]]))
    with pytest.raises(
        ValueError, match=rf"line 5: the same {key} as line {copied + 2}.*repeats='last'"
    ) as refused:
        Ratings.read(path)
    last, keep = advised(str(refused.value))
    assert len(Ratings.read(path, **last)) == 3
    assert len(Ratings.read(path, **keep)) == 4


def test_a_second_rating_is_no_copy(tmp_path: Path) -> None:
    assert len(Ratings.read(write(tmp_path, "item,rater,score\na,x,4\na,x,4\na,y,5\n"))) == 3
    assert len(Ratings.read(write(tmp_path, "item,rater,score,time\na,x,4,1\na,x,4,2\na,y,5,3\n"))) == 3


@pytest.mark.jit  # long: in the compiled pass alone
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(
        ["approval", "review_status", "QA", "moderation", "decision", "Admin Review", "checked"]
    ),
    bad=st.sampled_from(["rejected", "Reject", "discarded", "DRAFT", "cancelled"]),
    good=st.sampled_from(["approved", "accepted", "submitted", "ok", ""]),
    order=st.permutations(range(4)),
)
def test_rejected_rows_under_any_name(
    name: str, bad: str, good: str, order: list[int], tmp_path: Path
) -> None:
    table = pd.DataFrame(
        {"item": ["a", "a", "b"], "rater": ["x", "y", "x"], "score": [4, 5, 1], name: [good, bad, good]}
    )
    table[[table.columns[k] for k in order]].to_csv(path := tmp_path / "x.csv", index=False)
    with pytest.raises(ValueError, match=rf"line 3: '{name}' is '{bad}'. Do such rows count") as refused:
        Ratings.read(path)
    without, with_them = advised(str(refused.value))
    assert Ratings.read(path, **without).frame.score.tolist() == [4, 1]
    assert Ratings.read(path, **with_them).frame.score.tolist() == [4, 5, 1]


@pytest.mark.parametrize(
    "name",
    [
        "golden",
        "_golden",
        "isControl",
        "is_test_question",
        "Practice",
        "honeypot",
        "is-catch-trial",
        "warmup",
    ],
)
def test_rows_of_test_questions_and_practice(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"item,rater,score,{name}\na,x,4,true\na,y,5,false\nb,x,1,false\n")
    with pytest.raises(ValueError, match=rf"line 2: '{name}' is 'true'. Do such rows count"):
        Ratings.read(path)
    assert len(Ratings.read(path, columns={"status": name})) == 2
    told = Ratings.read(write(tmp_path, "item,rater,score,gold_score\na,x,4,5\nb,x,3,\n"))
    assert told.ground_truth[["item", "score"]].values.tolist() == [["a", 5]]


PERSON = [
    "age",
    "yearOfBirth",
    "gender",
    "time_on_page",
    "submitTime",
    "Duration (in seconds)",
    "workerId",
    "comments",
]


@pytest.mark.parametrize("name", PERSON)
@pytest.mark.parametrize("platform", ["mturk", "toloka"])
def test_answers_about_the_person_are_no_ratings(name: str, platform: str, tmp_path: Path) -> None:
    prefix, sep = ("Answer.", ",") if platform == "mturk" else ("OUTPUT:", "\t")
    head = (
        ["HITId", "WorkerId"]
        if platform == "mturk"
        else ["INPUT:u", "ASSIGNMENT:worker_id", "ASSIGNMENT:status"]
    )
    rows: list[list[str]] = [[*head, f"{prefix}{name}", f"{prefix}mood"]]
    for k, mood in enumerate(("glad", "sad", "sad")):
        rows.append([f"h{k // 2}", f"w{k % 2}", *(["APPROVED"] if len(head) > 2 else []), str(30 + k), mood])
    found = Ratings.read(write(tmp_path, "\n".join(map(sep.join, rows))))
    assert found.categories == ("glad", "sad")
    assert list(found.unread) == [name]
    assert f"question={name!r}" in found.unread[name]
    assert Ratings.read(tmp_path / "x.csv", question=name).frame.score.tolist() == [30, 31, 32]
    alone = write(tmp_path, "\n".join(sep.join(row[:-1]) for row in rows))
    with pytest.raises(ValueError, match=r"about the person or the time.*question="):
        Ratings.read(alone)


@pytest.mark.parametrize("what", ["text", "image_url", "Sentence", "prompt", "imgUrl"])
def test_an_id_that_numbers_the_rows_is_no_item(what: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"id,{what},worker,rating\n1,u,a,3\n2,u,b,4\n3,v,a,5\n")
    with pytest.raises(
        ValueError, match=rf"'id' is another in each row, and '{what}' is the same"
    ) as refused:
        Ratings.read(path)
    by_text, by_id = advised(str(refused.value))
    assert Ratings.read(path, **by_text).frame.item.tolist() == ["u", "u", "v"]
    assert Ratings.read(path, **by_id).frame.item.tolist() == [1, 2, 3]
    assert len(Ratings.read(write(tmp_path, f"id,{what},worker,rating\n1,u,a,3\n2,v,b,4\n"))) == 2


@pytest.mark.parametrize("words", [("LEFT", "RIGHT"), ("A", "B"), ("first", "second")])
def test_platforms_compare_too(words: tuple[str, str], tmp_path: Path) -> None:
    left, right = words
    toloka = (
        "INPUT:left\tINPUT:right\tOUTPUT:result\tASSIGNMENT:worker_id\tASSIGNMENT:task_id\tASSIGNMENT:status\n"
        f"a\tb\t{left}\tw\tt\tAPPROVED\na\tc\t{right}\tv\tt2\tREJECTED\nc\tb\t{right}\tv\tt3\tAPPROVED\n"
    )
    mturk = (
        "HITId,WorkerId,AssignmentStatus,Input.image_a,Input.image_b,Answer.better\n"
        f"h,w,Approved,a,b,{left}\ng,v,Rejected,a,c,{right}\nf,v,Approved,c,b,{right}\n"
    )
    for text in (toloka, mturk):
        found = Ratings.read(write(tmp_path, text))
        table = found.comparisons[["first", "second", "rater", "outcome"]]
        assert table.values.tolist() == [["a", "b", "w", 1], ["c", "b", "v", 0]]
        assert found.skipped.reason.tolist() == ["rejected"]
    assert len(Ratings.read(tmp_path / "x.csv", question="better").comparisons) == 2


def test_sides_called_by_what_stands_before_or_behind(tmp_path: Path) -> None:
    for first, second in (("left_image", "right_image"), ("image_left", "image_right"), ("imgA", "imgB")):
        path = write(tmp_path, f"{first},{second},pick,worker\nx,y,left,r\nx,z,right,r\n")
        with pytest.raises(ValueError, match="Where a row compares two") as refused:
            Ratings.read(path)
        found = Ratings.read(path, **advised(str(refused.value))[0]).comparisons
        assert found[["first", "second", "outcome"]].values.tolist() == [["x", "y", 1], ["x", "z", 0]]


def test_frames_with_two_levels_of_columns() -> None:
    table: Any = pd.DataFrame(
        [["a", "x", 3]], columns=pd.MultiIndex.from_tuples([("k", "i"), ("k", "r"), ("v", "s")])
    )
    assert len(Ratings.read(table, columns={"item": "k_i", "rater": "k_r", "score": "v_s"})) == 1
    with pytest.raises(TypeError, match="not Series"):
        Ratings.read(table.iloc[0])


def test_a_form_is_one_whatever_its_questions_are_called(tmp_path: Path) -> None:
    path = write(
        tmp_path, "Timestamp,Email Address,item,user_id,rating\n2026/1/1,a@x,1,7,3\n2026/1/2,b@x,2,8,4\n"
    )
    with pytest.raises(ValueError, match="one row a respondent") as refused:
        Ratings.read(path)
    form, each = advised(str(refused.value))
    assert "rating" in form["question"]
    assert Ratings.read(path, **each).frame.item.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["annotator_type", "source", "by", "raterKind"])
@pytest.mark.parametrize("machine", ["model", "LLM", "prediction", "gold"])
def test_models_among_the_raters(name: str, machine: str, tmp_path: Path) -> None:
    rows = f"a,gpt,3,{machine}\na,x,4,human\nb,x,5,human\nb,gpt,1,{machine}\n"
    path = write(tmp_path, f"item,annotator,score,{name}\n{rows}")
    with pytest.raises(
        ValueError, match=rf"line 2: '{name}' is '{machine}'. Does it say who rated"
    ) as refused:
        Ratings.read(path)
    people, everybody = (Ratings.read(path, **arguments) for arguments in advised(str(refused.value)))
    assert people.frame.rater.tolist() == ["x", "x"]
    assert len(people.predictions) + len(people.ground_truth) == 2
    assert len(everybody) == 4
    rated = f"item,annotator,score,{name}\na,y,3,{machine}\na,x,4,{machine}\nb,x,5,human\nb,y,1,human\n"
    assert len(Ratings.read(write(tmp_path, rated))) == 4  # who wrote what was rated


@pytest.mark.parametrize("name", ["maxScore", "out of", "scale"])
def test_scores_out_of_different_totals(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"item,rater,score,{name}\na,x,3,5\na,y,8,10\nb,x,4,5\n")
    with pytest.raises(ValueError, match=rf"column '{name}' scores are of different scales") as refused:
        Ratings.read(path)
    assert Ratings.read(path, **advised(str(refused.value))[0]).features == ["5", "10"]
    assert len(Ratings.read(write(tmp_path, f"item,rater,score,{name}\na,x,3,5\na,y,4,5\n"))) == 2


def test_lists_of_codes_in_a_form_are_no_decimals(tmp_path: Path) -> None:
    form: dict[str, Any] = {"format": "respondents", "question": ["Q1", "Q2"]}
    path = write(tmp_path, 'ResponseId,Q1,Q2\nR1,3,"1,2"\nR2,2,2\n')
    with pytest.raises(ValueError, match="line 2: '1,2' in column 'Q2' may be several choices.*labels="):
        Ratings.read(path, **form)
    plain = Ratings.read(write(tmp_path, "ResponseId;Q1;Q2\nR1;3;1,2\nR2;2;2\n"), **form)
    assert plain.frame.score.tolist() == [3, 1.2, 2, 2]
    assert len(Ratings.read(write(tmp_path, "ResponseId,Q1,Q2\nR1,3,1.2\nR2,2,2\n"), **form)) == 4
