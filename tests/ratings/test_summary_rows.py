"""Rows that are computed from others are refused with their first line; items and raters so called are read."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hitl_fast.ratings import Ratings

WIDE = "item,ann,ben\na,4,5\nb,2,1\nc,2,4\n"
LONG = "item,rater,score\na,x,4\na,y,5\nb,x,3\nb,y,2\n"
BOTH = {"raters": ["ann", "ben"]}


def read(text: str, folder: Path, **arguments: Any) -> Ratings:
    (folder / "x.csv").write_text(text)
    return Ratings.read(folder / "x.csv", **arguments)


@pytest.mark.parametrize(
    ("rows", "line", "name"),
    [
        ("mean,2.667,3.333\n", 5, "mean"), ("mean,2.7,3.3\n", 5, "mean"), ("Mean score,3,3\n", 5, "Mean score"),
        ("Total:,8,10\n", 5, "Total:"), ("SD,1.15,2.08\n", 5, "SD"), ("Max,4,5\n", 5, "Max"), ("min,2,1\n", 5, "min"),
        ("mean,1,1\n", 5, "mean"), ("Average,2.67,3.3\nstd,1,2\n", 5, "Average"), ("count,3,3\nmean,2,3\n", 5, "count"),
        ("Average rating,9,9\n", 5, "Average rating"), ("Mittelwert,2.7,3.3\n", 5, "Mittelwert"),
        ("mean,2.7,3.3\nz,1,2\n", 5, "mean"), ("Grand total,8,10\n", 5, "Grand total"),
        ("(mean),1,2\n", 5, r"\(mean\)"),
        ("sum_of_ratings,8,10\n", 5, "sum_of_ratings"), ("overall,2.7,3.3\n", 5, "overall"),
    ],
)  # fmt: skip
def test_below_a_wide_table(rows: str, line: int, name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"line {line}: '{name}' in column 'item' looks like a row that is computed"
    ):
        read(WIDE + rows, tmp_path, **BOTH)


@pytest.mark.parametrize("decimals", [0, 1, 2, 6])
@pytest.mark.parametrize("n", [4, 40])
def test_what_pandas_describe_appends(n: int, decimals: int, tmp_path: Path) -> None:
    table = pd.DataFrame(np.random.default_rng(n).integers(1, 6, (n, 3)), columns=["ann", "ben", "cy"])
    whole = pd.concat([table, table.describe().round(decimals)])
    whole.to_csv(tmp_path / "x.csv", index_label="item")
    arguments: dict[str, Any] = {"raters": ["ann", "ben", "cy"]}
    with pytest.raises(ValueError, match=f"x.csv, line {n + 2}: 'count'"):
        Ratings.read(tmp_path / "x.csv", **arguments)
    with pytest.raises(ValueError, match=f"row {n + 1}: 'count'"):
        Ratings.read(whole.reset_index(names="item").astype({"item": str}), **arguments)


@pytest.mark.parametrize(
    "rows",
    [
        "max,3,1\n", "Max,3,5\nMin,2,2\n", "mean girls,4,1\n", "total recall,4,1\n", "overall,4,1\n", "50%,3,1\n",
        "mean,4,1\nrude,2,2\n", "mean,4,1\nmean,2,2\n", "average joe,3,3\n", "summer,8,10\n", "sdk,1,2\n",
        "count,4,2\n", "SD,3,1\n",
    ],
)  # fmt: skip
def test_items_of_a_wide_table(rows: str, tmp_path: Path) -> None:
    assert len(read(WIDE + rows, tmp_path, **BOTH)) == 6 + 2 * rows.count("\n")


def test_a_table_of_such_words_alone(tmp_path: Path) -> None:
    assert len(read("item,ann,ben\n10%,1,2\n20%,2,3\n30%,5,5\n", tmp_path, **BOTH)) == 6
    assert len(read("item,ann,ben\nmean,1,2\nsum,2,3\n", tmp_path, **BOTH)) == 4
    text = "item,score\nann,3\nben,5\nmax,5\n"
    assert read(text, tmp_path).frame.item.tolist() == ["ann", "ben", "max"]


@pytest.mark.parametrize(
    ("rows", "line", "column"),
    [
        ("Total,,14\n", 6, "item"), ("Average,all,3.5\n", 6, "item"), ("mean,mean,3.5\n", 6, "item"),
        ("Mean,x,3.5\nMean,y,3.5\n", 6, "item"), ("Total,x,7\n", 6, "item"), ("Total,x,14\n", 6, "item"),
        ("max,all,5\nmin,all,2\n", 6, "item"), ("a,average,4.5\nb,average,2.5\n", 6, "rater"),
        ("a,Mean score,4.5\nc,x,4\n", 6, "rater"),
    ],
)  # fmt: skip
def test_in_a_long_table(rows: str, line: int, column: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"line {line}: '.*' in column '{column}' looks like a row that is computed"
    ):
        read(LONG + rows, tmp_path)


@pytest.mark.parametrize(
    "rows",
    [
        "mean,z,4\n", "mean,z,2\n", "mean,x,4\nmean,y,1\n", "max,x,5\n", "total,z,5\n", "a,max,4\n", "mean,x,4\n",
        "a,SD,3\n", "average,new,1\nkind,new,3\n", "c,all,4\nmean,all,2\nd,all,1\n",
    ],
)  # fmt: skip
def test_items_of_a_long_table(rows: str, tmp_path: Path) -> None:
    assert len(read(LONG + rows, tmp_path)) == 4 + rows.count("\n")


def test_a_table_of_means_alone_is_one_of_ratings(tmp_path: Path) -> None:
    found = read("item,rater,score\na,mean,3.5\nb,mean,4\n", tmp_path)
    assert found.frame.score.tolist() == [3.5, 4]


@pytest.mark.parametrize("name", ["gold", "Gold_Standard", "ground-truth", "consensus", "majority vote"])
def test_a_rater_that_is_no_person_is_refused_beside_people(name: str, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(f"item,rater,score\na,ann,1\na,ben,2\na,{name},2\nb,ann,5\nb,ben,4\nb,{name},5\n")
    with pytest.raises(
        ValueError, match=rf"line 4: '{name}' in column 'rater'.*no person's.*give the rater another name"
    ):
        Ratings.read(path)
    path.write_text(f"item,rater,score\na,{name},2\nb,{name},5\n")
    assert len(Ratings.read(path).frame) == 2  # alone it is who rated
