"""Columns that say which rows count: read as they are meant, or refused with a call that leaves the right rows out."""

import re
from pathlib import Path
from typing import Any

import pytest

from hitl_fast.ratings import Ratings
from hitl_fast.ratings.formats.column import Column
from hitl_fast.ratings.formats.verdicts import marked, reason


def read(text: str, folder: Path, **arguments: Any) -> Ratings:
    (folder / "x.csv").write_text(text)
    return Ratings.read(folder / "x.csv", **arguments)


def table(**columns: str) -> str:
    """Three answers, 4, 5 and 3, beside columns of "|"-separated cells."""
    cells = [cell.split("|") for cell in columns.values()]
    rows = [f"{i},r{i},{s}," + ",".join(c[i] for c in cells) for i, s in enumerate((4, 5, 3))]
    return "\n".join([f"item,rater,score,{','.join(columns)}", *rows])


@pytest.mark.parametrize("cells", ["0|1|0", "True|False|False", "yes|no|no", "1|1|0"])
@pytest.mark.parametrize("told", [False, True])
def test_a_status_of_yes_and_no_says_nothing(cells: str, told: bool, tmp_path: Path) -> None:
    arguments = {"columns": {"status": "status"}} if told else {}
    with pytest.raises(ValueError, match=r"line 2: expected in column 'status' a status among"):
        read(table(status=cells), tmp_path, **arguments)
    found = read(table(status=cells), tmp_path, columns={"status": None})
    assert found.frame.score.tolist() == [4, 5, 3]


def test_a_flag_named_as_the_status_is_a_flag(tmp_path: Path) -> None:
    found = read(table(rejected="True|False|False"), tmp_path, columns={"status": "rejected"})
    assert (found.frame.score.tolist(), found.skipped.reason.tolist()) == ([5, 3], ["rejected"])
    with pytest.raises(ValueError, match="column 'spam' a status among"):
        read(table(spam="True|False|False"), tmp_path, columns={"status": "spam"})


VERDICTS = {
    "attention_check": "failed|passed|passed", "valid": "invalid|valid|valid", "approved": "Rejected|Approved|Approved",
    "passed": "fail|pass|pass", "is_valid": "not valid|valid|", "included": "excluded|included|included",
    "trusted": "0|1|1", "accepted": "no|yes|n/a", "usable": "unusable|usable|perhaps",
    "is_approved": "Not approved|ok|ok", "excluded": "True|False|False", "failed_attention_check": "1|0|0",
    "is_invalid": "yes|no|",
}  # fmt: skip


@pytest.mark.parametrize("name", VERDICTS)
def test_rows_marked_as_bad_are_asked_about(name: str, tmp_path: Path) -> None:
    text = table(**{name: VERDICTS[name]})
    with pytest.raises(ValueError, match=rf"line 2: '{name}' is .*'status': '{name}'.*'status': None"):
        read(text, tmp_path)
    assert read(text, tmp_path, columns={"status": None}).frame.score.tolist() == [4, 5, 3]
    if "perhaps" in text:
        with pytest.raises(ValueError, match="line 4: expected .*'usable', not 'perhaps'"):
            read(text, tmp_path, columns={"status": name})
        return
    found = read(text, tmp_path, columns={"status": name})
    assert (found.frame.score.tolist(), found.skipped.reason.tolist()) == ([5, 3], ["rejected"])


@pytest.mark.parametrize(
    "columns",
    [
        {"valid": "valid|valid|"}, {"approved": "Approved|yes|1"}, {"attention_check": "blue|red|no"},
        {"trusted": "0.5|0|1"}, {"excluded": "0|0|0"}, {"attention_check": "3|5|0"}, {"valid": "||"},
    ],
)  # fmt: skip
def test_nothing_is_asked_where_no_row_is_marked(columns: dict[str, str], tmp_path: Path) -> None:
    assert read(table(**columns), tmp_path).frame.score.tolist() == [4, 5, 3]


@pytest.mark.parametrize("which", ["without", "with"])
def test_the_calls_advised_beside_a_status_keep_drafts_out(which: str, tmp_path: Path) -> None:
    text = table(status="draft|submitted|submitted", valid="1|0|1")
    with pytest.raises(ValueError, match="line 3: 'valid' is '0'") as refused:
        read(text, tmp_path)
    told = re.findall(r"columns=\{'status': '(\w+)'\}", str(refused.value))
    assert told == ["valid", "status"]
    found = read(text, tmp_path, columns={"status": told[which == "with"]})
    assert found.frame.score.tolist() == ([3] if which == "without" else [5, 3])
    assert found.skipped.reason.tolist() == ["draft", "rejected"][: 2 if which == "without" else 1]


def test_the_call_advised_holds_for_every_verdict(tmp_path: Path) -> None:
    text = table(valid="1|0|1", approved="0|1|1")
    for told in ("valid", "approved"):
        assert read(text, tmp_path, columns={"status": told}).frame.score.tolist() == [3]
    with pytest.raises(ValueError, match=r"line 2: 'approved' is '0'.*'valid' too"):
        read(text, tmp_path)


def test_what_is_asked_for_is_an_answer(tmp_path: Path) -> None:
    text = "item,rater,quality,accepted,rejected,status,prediction\na,x,4,0,1,1,2\na,y,5,1,0,3,4\n"
    for name, expected in (
        ("accepted", [0, 1]),
        ("rejected", [1, 0]),
        ("status", [1, 3]),
        ("prediction", [2, 4]),
    ):
        asked = ["quality", *({"accepted", "rejected", "status"} | {name})]
        found = read(text, tmp_path, question=asked)
        assert found.frame.score[found.frame.feature == name].tolist() == expected
    wide = "item,ann,accepted\na,4,0\nb,2,1\n"
    assert len(read(wide, tmp_path, raters=["ann", "accepted"])) == 4


@pytest.mark.parametrize("word", ["failed", "NOT PASSED", "non-valid", "spam", "rejected", "False", "0.0"])
def test_a_bad_word_is_one_in_any_case(word: str) -> None:
    assert reason("valid", word) == "rejected"
    assert marked("valid", Column.of([word, "1"])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "cells"), [("qc_pass", "0|1|1"), ("is_spam", "1|0|0"), ("qc_failed", "yes|no|no")]
)
def test_other_names_of_checks(name: str, cells: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"line 2: '{name}' is .*'status': '{name}'"):
        read(table(**{name: cells}), tmp_path)


def test_a_table_of_which_nothing_counts_says_why(tmp_path: Path) -> None:
    text = table(status="pending|draft|rejected")
    with pytest.raises(ValueError, match=r"draft 2, rejected 1\).*columns=\{'status': None\}"):
        read(text, tmp_path)
    assert len(read(text, tmp_path, columns={"status": None})) == 3
