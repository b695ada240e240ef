"""Tables as people and spreadsheets leave them: each is read rightly, or refused by name; none is misread silently."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_fast.ratings import Ratings
from hitl_fast.ratings.missing_codes import missing_code

HEAD = "item,rater,score\n"


def read(text: str | bytes, folder: Path, **arguments: Any) -> Ratings:
    path = folder / "x.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Ratings.read(path, **arguments)


def scores(*cells: str) -> str:
    """Each cell is somebody's score of one item."""
    return HEAD + "".join(f"a,r{i},{cell}\n" for i, cell in enumerate(cells))


READ: dict[str, tuple[str, list[float]]] = {
    "a mark, semicolons, decimal commas": ("\ufeffitem;rater;score\r\na;x;3,5\r\na;y;4,0\r\n", [3.5, 4]),
    "Excel's line about the delimiter": ("sep=;\r\nitem;rater;score\r\na;x;3\r\n", [3]),
    "Excel's line about a caret": ("sep=^\nitem^rater^score\na^x^4\n", [4]),
    "cells kept as text by a formula": (scores('="4"', '="5"'), [4, 5]),
    "points that part thousands beside decimal commas": ("item;rater;score\na;x;1.000\na;y;2,5\na;z;1.234,5\n",
                                                         [1000, 2.5, 1234.5]),
    "decimal points between semicolons": ("item;rater;score\na;x;3.667\na;y;4.000\n", [3.667, 4]),
    "rows of delimiters alone": (scores("4") + ",,\n,,\n", [4]),
    "a delimiter at the end of each line": ("item,rater,score,\na,x,4,\na,y,5,\n", [4, 5]),
    "out of five in words": (scores("4 of 5", "2 out of 5", "3/5"), [4, 2, 3]),
    "drawn stars": (scores("★★★★☆", "★★☆☆☆", "⭐⭐⭐"), [4, 2, 3]),
    "points": (scores("5 points", "3 pts", "4 stars"), [5, 3, 4]),
    "what a number means in brackets": (scores("5 (best)", "3 (fair)"), [5, 3]),
    "what a number means after a dash": (scores("4 - good", "2 - poor"), [4, 2]),
    "numbered answers": (scores("1: yes", "2: no"), [1, 2]),
    "per cent": (scores("80%", "20 %"), [80, 20]),
    "true and false in either case": (scores("True", "FALSE"), [1, 0]),
    "digits of another script": (scores("４", "٢"), [4, 2]),
    "thumbs in numbers": (scores("-1", "1", "1"), [-1, 1, 1]),
    "a scale around zero": (scores("-1", "0", "1"), [-1, 0, 1]),
    "per cent without the sign": (scores("99", "10", "55"), [99, 10, 55]),
    "a word called like a summary": (HEAD + "mean,x,2\nkind,x,4\nkind,y,5\nmean,y,1\n", [2, 4, 5, 1]),
    "all answers valid": ("item,rater,score,is_valid\na,x,4,True\na,y,5,True\n", [4, 5]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_read_rightly(name: str, tmp_path: Path) -> None:
    text, expected = READ[name]
    found = read(text, tmp_path)
    assert found.frame.score.tolist() == expected
    assert found.categories is None


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "per cent beside plain numbers": (scores("80%", "0.2"), "plain numbers and '80%'.*labels="),
    "fractions beside plain numbers": (scores("4/5", "4"), "plain numbers and '4/5'.*labels="),
    "fractions of several totals": (scores("4/5", "8 of 10"), "'4/5' and '8 of 10'.*labels="),
    "a range among numbers": (scores("4-5", "2"), "line 2: the answer is '4-5'"),
    "a date that was 4/5": (scores("04-May", "02-May"), "such as '04-May'"),
    "a date beside numbers": (scores("3", "04-May"), "line 3: the answer is '04-May'"),
    "dates": (scores("2024-01-05", "2024-01-06"), "dates or times such as '2024-01-05'"),
    "dates with points": (scores("1.5.2024", "2.5.2024"), "dates or times such as '1.5.2024'"),
    "dates with slashes": (scores("5/1/2024", "4/1/2024"), "dates or times"),
    "times of the day": (scores("4:30", "2:10 pm"), "dates or times such as '4:30'"),
    "lists in cells": (scores('"[4, 5]"', '"[3]"'), "lists or objects such as '\\[4, 5\\]'"),
    "objects in cells": ('item,ratings\na,"{""x"":4,""y"":5}"\n', "lists or objects"),
    "several scores in a cell": (scores("4|5", "3"), "line 2: the answer is '4|5'"),
    "a second row of names": (HEAD + "ID,Name,1=bad 5=good\na,x,3\na,y,4\n", "line 2: the answer is '1=bad 5=good'"),
    "two rows of names by pandas": (",score,score\nrater,x,y\nitem,,\na,3,4\n", "line 1: two columns are called"),
    "-1 for no answer": (scores("-1", "4", "5", "3"), r"line 2: -1 may stand for no answer.*such as scale=\(-10, 10\)"),
    "999 for no answer": (scores("4", "999", "5"), "line 3: 999 may stand for no answer"),
    "99 and 98 for no answer": (scores("4", "1", "98", "99", "5"), "line [45]: 9[89] may stand for no answer"),
    "a total below": (HEAD + "a,x,4\nb,y,5\nTotal,,9\n", "line 4: 'Total' in column 'item'"),
    "a mean below, by all": (HEAD + "a,x,4\nb,y,5\nAverage,all,4.5\n", "line 4: 'Average' in column 'item'"),
    "a title above": ("Export of project 7\n" + scores("4"), "line 2: .*'Export of project 7' may be a title"),
    "items merged over rows": (HEAD + "a,x,4\n,y,5\n", "line 3: no item in column 'item'"),
    "not approved": ("item,rater,score,approved\na,x,4,no\na,y,5,yes\n", "line 2: 'approved' is 'no'.*status"),
    "failed checks": ("item,rater,score,attention_check_passed\na,x,4,1\na,y,5,0\n", "line 3: .*'status': None"),
    "an underscore": (scores("1_000", "2"), "line 2: the answer is '1_000'"),
    "apostrophes that part thousands": (scores("1'000", "2"), "line 2: the answer is \"1'000\""),
    "a point of either kind": ("item;rater;score\na;x;1.000\na;y;2,5\na;z;3.75\n", "line 2: .*thousands"),
    "more than ten": (scores("10+", "3"), r"line 2: the answer is '10\+'"),
    "numbers in base 16": (scores("0x10", "2"), "line 2: the answer is '0x10'"),
    "Latin-1": ("item,rater,score\na,J\xfcrgen,4\n".encode("latin-1"), "line 2: not utf-8.*save it as UTF-8"),
    "UTF-16 without a mark": ("item\trater\tscore\na\tx\t4\n".encode("utf-16-le"), "line 1: not text"),
    "a workbook": (b"PK\x03\x04 and so on", "a workbook.* as CSV"),
    "an old workbook": (b"\xd0\xcf\x11\xe0 and so on", "a workbook.* as CSV"),
    "a web page": ("<html><table><tr><td>item</td></tr></table></html>", "line 1: no ratings found"),
    "blanks between columns": ("item rater score\na x 4\n", "line 1: no ratings found"),
    "raters called by numbers": ("item,1,2,3\na,4,5,3\nb,2,1,2\n", r"raters=\['1', '2', '3'\]"),
    "two questions": ("item,rater,quality,use\na,x,3,1\na,y,4,2\n", r"'quality', 'use' could be.*question="),
    "ranks": ("item,rater,rank\na,x,1\nb,x,2\n", "which column is the score.*'rank'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str, tmp_path: Path) -> None:
    text, message = REFUSED[name]
    with pytest.raises(ValueError, match=rf"(?s)x\.csv.*{message}"):
        read(text, tmp_path)


@pytest.mark.parametrize("form", ["long", "wide"])
def test_a_row_of_means_below_a_wide_table(form: str, tmp_path: Path) -> None:
    text = "item,ann,ben\na,4,5\nb,2,1\nmean,3,3\nstd,1,2\n"
    arguments = (
        {"raters": ["ann", "ben"]} if form == "wide" else {"format": "long", "columns": {"score": "ann"}}
    )
    with pytest.raises(ValueError, match="line 4: 'mean' in column 'item'"):
        read(text, tmp_path, **arguments)


def test_rows_that_failed_a_check_are_left_out_or_kept_as_told(tmp_path: Path) -> None:
    text = "item,rater,score,is_valid\na,x,4,False\na,y,5,True\na,z,3,\n"
    left = read(text, tmp_path, columns={"status": "is_valid"})
    assert left.frame.score.tolist() == [5, 3]
    assert left.skipped.reason.tolist() == ["rejected"]
    assert read(text, tmp_path, columns={"status": None}).frame.score.tolist() == [4, 5, 3]


def test_codes_for_no_answer_can_be_declared_ratings(tmp_path: Path) -> None:
    text = scores("-1", "4", "5", "3")
    assert read(text, tmp_path, scale=(-1, 5)).frame.score.tolist() == [-1, 4, 5, 3]
    with pytest.raises(ValueError, match="line 2: -1 is outside the scale 1 to 5"):
        read(text, tmp_path, scale=(1, 5))
    with pytest.raises(ValueError, match=r"scores\[1\]: 99 may stand for no answer"):
        Ratings.from_arrays([0, 0, 1], ["x", "y", "x"], [3.0, 99.0, 1.0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1, 1, 2, 3], -1), ([-1, 0, 3], -1), ([-1, 0, 1], None), ([-1, 1], None), ([-1.0, 0.5, 4.2], None),
        ([-3, -1, 0, 3], None), ([1, 5, 99], 99), ([0, 98, 99], None), ([1, 99], None), ([-99, -10, 10], -99),
        ([1, 7, -9], -9), ([0, 100, -9], None), ([1, 2, 3], None), ([99], None), ([1, 5, 98, 99], 98),
        ([3.5, 4, 99, 2.5], 99), ([3.5, 4.2, -999, 2.5], -999), ([5, 5, 99, 5], 99), ([3.5, 2.0, 77], 77),
        ([0.2, 0.9, -99], -99), ([5, 5, 5, -9], -9), ([0, 40, 100, 999], 999), ([1, 20, 99], 99),
        ([60, 65, 70, 72, 99, 68], None), ([60, 62, 61, 99], None), ([-1, 0, 1, 2, 3], None), ([10, 20, 77], None),
        ([-99, 20, 50, 80], None), ([-99, -40, 0, 60], None), ([990, 992, 999], None), ([88, 30, 45], None),
        ([-1, 0, 1, 2, 3, 4], -1), ([-1, 4, 4], -1), ([5, 5], None), ([-8, 2.5, 7.5], None), ([-8, 2, 7], -8),
    ],
)  # fmt: skip
def test_what_a_code_for_no_answer_is(values: list[float], expected: float | None) -> None:
    assert missing_code(np.array(values, float)) == expected


@pytest.mark.parametrize("code", ["77", "88", "98", "99", "-88", "-99", "888", "999", "-999", "9999"])
@pytest.mark.parametrize("others", [["1", "5", "3"], ["3.5", "4", "2.5"], ["5", "5", "5"], ["0", "10", "7"]])
def test_a_code_beside_a_short_scale_is_refused_and_can_be_declared(
    code: str, others: list[str], tmp_path: Path
) -> None:
    text = scores(*others, code)
    with pytest.raises(ValueError, match=f"line 5: {code} may stand for no answer") as refused:
        read(text, tmp_path)
    low, high = str(refused.value).split("such as scale=(")[1].split(")")[0].split(", ")
    found = read(text, tmp_path, scale=(float(low), float(high)))
    assert found.frame.score.tolist() == [float(cell) for cell in (*others, code)]
    assert float(low) <= float(code) <= float(high)


def test_labels_that_were_given_a_code_are_scores(tmp_path: Path) -> None:
    told = read(scores("bad", "ok", "good"), tmp_path, labels={"bad": -1, "ok": 0, "good": 4})
    assert told.frame.score.tolist() == [-1, 0, 4]
    two = "item,rater,quality,use\na,x,bad,4\na,y,good,99\nb,x,bad,3\n"
    given = {"labels": {"bad": -1, "good": 4}}
    assert read(two.replace("99", "5"), tmp_path, question=["quality", "use"], **given).scale == (-1, 5)
    with pytest.raises(ValueError, match="line 3: 99 may stand for no answer, as other scores are 3 to 4"):
        read(two, tmp_path, question=["quality", "use"], **given)


@pytest.mark.parametrize(
    "labels",
    [
        ["[PER]", "[ORG]"],
        ["mar-10", "foo"],
        ["{x}", "[y]"],
        ["2024-01-05", "later"],
        ["[not json", "x]"],
        ["4:30", "n"],
    ],
)
def test_labels_in_brackets_or_like_a_date_are_categories(labels: list[str], tmp_path: Path) -> None:
    assert read(scores(*labels, labels[0]), tmp_path).categories == tuple(sorted(labels))


@pytest.mark.parametrize("cells", [["04-May", "4/5"], ["04-May", "4-5"], ["mar-10", "02-May"], ['"[4, 5]"', "[PER]"],
                                   ["\"['a', 'b']\"", "\"['a']\""], ["{}", "x"]])  # fmt: skip
def test_dates_and_lists_name_the_way_to_read_them(cells: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(dates|lists).*labels=.*--labels"):
        read(scores(*cells), tmp_path)
    labels = {cell.strip('"'): float(i) for i, cell in enumerate(cells)}
    assert read(scores(*cells), tmp_path, labels=labels).frame.score.tolist() == [0, 1]


def test_labels_say_what_doubtful_answers_are_worth(tmp_path: Path) -> None:
    text = scores("04-May", "02-May")
    told = read(text, tmp_path, labels={"04-May": 0.8, "02-May": 0.4})
    assert told.frame.score.tolist() == [0.8, 0.4]
    told = read(scores("80%", "50%", "4/5"), tmp_path, labels={"80%": 0.8, "50%": 0.5, "4/5": 0.8})
    assert told.frame.score.tolist() == [0.8, 0.5, 0.8]


@pytest.mark.parametrize("form", ["long", "wide", "pairwise"])
def test_ids_keep_their_comma_between_semicolons(form: str, tmp_path: Path) -> None:
    text, arguments = {
        "long": ("item;rater;score;seconds\n1,5;1,1;4,5;2,5\n1.234;1,1;3;1.000,5\n", {}),
        "wide": ("item;1,1\n1,5;4,5\n1.234;3\n", {"raters": ["1,1"]}),
        "pairwise": ("first;second;winner;rater\n1,5;1.234;1,5;1,1\n1.234;1,5;1,5;1,1\n", {}),
    }[form]
    found = read(text, tmp_path, items=["1,5", "1.234"], **arguments)
    if form == "pairwise":
        assert found.comparisons[["first", "second", "outcome"]].values.tolist() == [[0, 1, 1], [1, 0, 0]]
        assert found.comparisons.rater.tolist() == ["1,1"] * 2
        return
    assert found.frame[["item", "rater", "score"]].values.tolist() == [[0, "1,1", 4.5], [1, "1,1", 3.0]]
    if form == "long":
        assert found.frame.seconds.tolist() == [2.5, 1000.5]


def test_triples_between_blanks_are_read_by_position(tmp_path: Path) -> None:
    text = "w1 q1 3\nw2  q1 4 \n\nw1 q2 5\n"
    with pytest.raises(ValueError, match="one column.*columns={'rater': 0, 'item': 1, 'score': 2}"):
        read(text, tmp_path)
    found = read(text, tmp_path, columns={"rater": 0, "item": 1, "score": 2})
    assert found.frame.values[:, :3].tolist() == [["q1", "w1", 3], ["q1", "w2", 4], ["q2", "w1", 5]]
