"""Tables with columns beside the ratings are read rightly or refused: never another column as the score."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_fast import cli
from hitl_fast.ratings import Ratings
from hitl_fast.ratings.formats import csv_table as tables

ITEMS, RATERS = 6, 3
EXTRA: dict[str, Any] = {
    "age": lambda g, n: g.integers(18, 80, n),
    "turn": lambda g, n: np.arange(n) % 4,
    "created_utc": lambda g, n: 1_700_000_000 + np.arange(n),
    "confidence": lambda g, n: g.random(n).round(2),
    "votes": lambda g, n: g.integers(0, 9, n),
    "label": lambda g, n: g.integers(0, 2, n),
    "value": lambda g, n: g.integers(0, 9, n),
    "id": lambda g, n: 1000 + g.permutation(n),
    "index": lambda g, n: np.arange(n),
    "row_id": lambda g, n: np.arange(1, n + 1),
    "image_id": lambda g, n: g.integers(0, 3, n),
    "user_id": lambda g, n: g.integers(0, 3, n),
    "Unnamed: 0": lambda g, n: np.arange(n),
    "text": lambda g, n: [f"some text number {i} that is long enough to be prose" for i in range(n)],
    "comment": lambda g, n: ["ok"] * n,
    "country": lambda g, n: g.choice(["GBR", "DEU"], n),
    "timestamp": lambda g, n: pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(n), "h"),
    "duration_minutes": lambda g, n: g.integers(1, 60, n),
    "state": lambda g, n: g.choice(["Ohio", "Iowa"], n),
}  # fmt: skip
SCORES = ("score", "rating", "mos", "liking", "answer")
SUFFIXES = ("csv", "tsv", "jsonl", "json", "parquet")


def long_ratings(seed: int, score: str) -> pd.DataFrame:
    """Every rater's score of every item: 1 to 5, telling which item and rater it is of."""
    generator = np.random.default_rng(seed)
    rows = [(f"i{i}", f"r{r}", 1 + (2 * i + 3 * r) % 5) for i in range(ITEMS) for r in range(RATERS)]
    return pd.DataFrame([rows[k] for k in generator.permutation(len(rows))], columns=["item", "rater", score])


def write(table: pd.DataFrame, path: Path, index: bool) -> Path:
    suffix = path.suffix[1:]
    if suffix in ("csv", "tsv"):
        table.to_csv(path, index=index, sep="\t" if suffix == "tsv" else ",")
    elif suffix == "parquet":
        table.to_parquet(path, index=index)
    else:
        plain = table.assign(**{c: table[c].astype(str) for c in table if str(table[c].dtype)[:4] == "date"})
        plain.to_json(path, orient="records", lines=suffix == "jsonl")
    return path


def scores_of(ratings: Ratings) -> dict[tuple[str, str], float]:
    return {(row.item, row.rater): row.score for row in ratings.frame.itertuples()}


def assert_right(ratings: Ratings, table: pd.DataFrame, score: str) -> None:
    expected = {(row["item"], row["rater"]): row[score] for row in table.to_dict("records")}
    assert scores_of(ratings) == expected
    assert ratings.features == []


def attempt(path: Path, form: str | None = None) -> tuple[Ratings | None, str]:
    """The ratings, or the message that refuses them."""
    try:
        return Ratings.read(path, form), ""
    except ValueError as refused:
        return None, str(refused)


@pytest.mark.jit  # long: in the compiled pass alone
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 99),
    score=st.sampled_from(SCORES),
    extra=st.lists(st.sampled_from(sorted(EXTRA)), unique=True, max_size=5),
    suffix=st.sampled_from(SUFFIXES),
    index=st.booleans(),
)
def test_long_tables(
    seed: int, score: str, extra: list[str], suffix: str, index: bool, tmp_path: Path
) -> None:
    table, generator = long_ratings(seed, score), np.random.default_rng(seed)
    for name in extra:
        table[name] = EXTRA[name](generator, len(table))
    columns = [table.columns[k] for k in generator.permutation(len(table.columns))]
    path = write(table[columns], tmp_path / f"t.{suffix}", index and suffix in ("csv", "tsv", "parquet"))
    ratings, message = attempt(path)
    if ratings is None:
        assert path.name in message
        assert "Ratings.read('" in message
        ratings = Ratings.read(path, columns={"item": "item", "rater": "rater", "score": score})
    assert_right(ratings, table, score)


@pytest.mark.jit
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 99),
    extra=st.lists(st.sampled_from(sorted(EXTRA)), unique=True, max_size=4),
    suffix=st.sampled_from(SUFFIXES),
    form=st.sampled_from([None, "wide"]),
)
def test_wide_tables(seed: int, extra: list[str], suffix: str, form: str | None, tmp_path: Path) -> None:
    long, generator = long_ratings(seed, "score"), np.random.default_rng(seed)
    table = long.pivot_table(index="item", columns="rater", values="score").reset_index()
    raters = [c for c in table.columns if c != "item"]
    for name in extra:
        table[name] = EXTRA[name](generator, len(table))
    columns = [table.columns[k] for k in generator.permutation(len(table.columns))]
    path = write(table[columns], tmp_path / f"t.{suffix}", index=False)
    assert_right(Ratings.read(path, raters=raters), long, "score")
    ratings, message = attempt(path, form)
    if ratings is None:
        assert "raters=[" in message or "columns={" in message
        return
    assert form == "wide"
    assert_right(ratings, long, "score")


CASES: dict[str, tuple[str, str, dict[str, Any], list[tuple[Any, ...]]]] = {
    # table: what the message must name, how to read it then, and what is read
    "the score has another name": (
        "item,rater,age,liking\na,x,20,1\na,y,30,5\n", "'age', 'liking'.*--columns score=liking",
        {"columns": {"score": "liking"}}, [("a", "x", 1), ("a", "y", 5)],
    ),
    "the answers are words": (
        "item,rater,age,sentiment\na,x,20,good\na,y,30,bad\n", "'age', 'sentiment'.*'score': 'sentiment'",
        {"columns": {"score": "sentiment"}}, [("a", "x", 1), ("a", "y", 0)],
    ),
    "counts of votes": (
        ",count,hate_speech,neither,class,tweet\n0,3,0,3,2,x\n1,3,2,1,1,y\n", "'count', 'hate_speech'.*raters=",
        {"raters": ["hate_speech", "neither"], "item": "tweet"},
        [("x", "hate_speech", 0), ("x", "neither", 3), ("y", "hate_speech", 2), ("y", "neither", 1)],
    ),
    "attributes": (
        "filename,appeal,sweetness\na.png,36.9,6.1\n", "'filename', 'appeal'.*--raters appeal sweetness",
        {"format": "long", "columns": {"score": "appeal"}}, [("a.png", "rater", 36.9)],
    ),
    "ids beside words": (
        "assigned_to,closed,in_frame,image,diagram_id\nann,Yes,No,a.svg,1\nben,No,No,a.svg,2\n",
        "'assigned_to'.*rater=assigned_to", {"columns": {"rater": "assigned_to", "score": "closed"}},
        [("a.svg", "ann", 1), ("a.svg", "ben", 0)],
    ),
    "an Appen report": (
        "_unit_id,_id,_trust,_worker_id,_country,relevance,text_id\n1,5,0.8,7,GBR,1,0\n1,6,0.9,8,GBR,3,0\n",
        "'relevance', 'text_id'.*question='relevance'", {"question": "relevance"}, [(1, 7, 1), (1, 8, 3)],
    ),
    "no header": (
        "1,1,3\n1,2,4\n2,1,5\n", "the header is missing.*--columns rater=0 item=1 score=2",
        {"columns": {"rater": 0, "item": 1, "score": 2}}, [(1, 1, 3), (2, 1, 4), (1, 2, 5)],
    ),
    "no header, with words": (
        "a,1,3\na,2,4\nb,1,5\n", "the header is missing", {"columns": {"item": 0, "rater": 1, "score": 2}},
        [("a", 1, 3), ("a", 2, 4), ("b", 1, 5)],
    ),
    "two columns called like a score": (
        "item,rater,label,score\na,x,2,0.31\n", "'score', 'label' may each be the score.*columns=",
        {"columns": {"score": "label"}}, [("a", "x", 2)],
    ),
    "two columns called like an item": (
        "image_id,text_id,rater,score\n1,1,x,3\n1,2,x,4\n2,1,x,5\n", "may each be the item.*'item': 'image_id'",
        {"item": "text_id"}, [(1, "x", 3), (2, "x", 4), (1, "x", 5)],
    ),
    "a status that is none": (
        "item,rater,score,status\na,x,3,Ohio\n", "column 'status'.*columns={'status': None}",
        {"columns": {"status": None}}, [("a", "x", 3)],
    ),
    "several answers by nobody": (
        "item,coder name,score\na,x,3\na,y,4\n", "'coder name'.*columns={'rater': 'coder name'}",
        {"columns": {"rater": "coder name"}}, [("a", "x", 3), ("a", "y", 4)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_with_a_call_that_works(name: str, tmp_path: Path) -> None:
    text, named, arguments, expected = CASES[name]
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)x\.csv.*{named}"):
        Ratings.read(path)
    found = Ratings.read(path, **arguments)
    assert list(zip(found.frame.item, found.frame.rater, found.frame.score, strict=True)) == expected


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_that_a_message_advises_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text(CASES[name][0])
    assert cli.main(["ratings", "summary", "x.csv"]) == 2
    message = capsys.readouterr().err
    if name == "a status that is none":
        command = "ratings summary x.csv --columns status="
    elif "(hitl-fast " not in message:
        command = "ratings summary x.csv " + message[message.index("(--") + 1 :].split(")")[0]
    else:
        command = message[message.index("(hitl-fast ") + 11 :].split(")")[0]
    status = cli.main(shlex.split(command))
    if name in ("counts of votes", "attributes"):
        return  # the item has to be named too, or means of attributes would be a rater's
    assert status == 0, capsys.readouterr().err


def test_a_question_is_the_item_where_there_is_no_other(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("question,worker,answer\n1,a,0\n1,b,1\n2,a,1\n2,b,1\n")
    found = Ratings.read(path)
    assert found.frame.item.tolist() == [1, 1, 2, 2]
    assert found.features == []
    path.write_text("question,worker,answer\n1,a,0\n,b,1\n")
    with pytest.raises(ValueError, match="line 3: no item in column 'question'"):
        Ratings.read(path)
    path.write_text("item,question,rater,score\n1,what?,a,0\n1,what?,b,1\n2,why?,a,3\n")  # the item's text
    found = Ratings.read(path)
    assert (found.features, list(found.unread)) == ([], ["question"])
    path.write_text("item,question,rater,score\n1,good?,a,0\n1,new?,a,1\n2,good?,a,3\n")
    assert Ratings.read(path).features == ["good?", "new?"]


def test_tables_in_memory() -> None:
    import datasets
    import polars as pl
    import pyarrow as pa

    table = long_ratings(0, "score")
    shifted = table.set_index(table.index + 7)
    for value in (
        table, shifted, pl.from_pandas(table), pa.Table.from_pandas(table, preserve_index=False),
        datasets.Dataset.from_pandas(table, preserve_index=False),
    ):  # fmt: skip
        assert_right(Ratings.read(value), table, "score")
    assert_right(Ratings.read(table.set_index("item")), table, "score")
    categorical = table.assign(rater=table.rater.astype("category"))
    assert_right(Ratings.read(categorical), table, "score")
    with pytest.raises(ValueError, match=r"table, row 1: no item in column 'item'"):
        Ratings.read(table.assign(item=None))
    with pytest.raises(TypeError, match="path must be a file name, or a table of pandas.* not list"):
        Ratings.read([1, 2])


def test_reading_takes_each_feature_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work grows with the number of features, not with its square: values that are looked at are counted."""
    from hitl_fast.ratings import answer_scores

    looked: list[int] = []
    look = answer_scores._look
    monkeypatch.setattr(
        answer_scores,
        "_look",
        lambda *a: looked.append(len(a[3])) or look(*a),  # type: ignore[func-returns-value]
    )
    for n in (50, 500):
        path = tmp_path / "f.csv"
        words = ("no", "yes")
        path.write_text(
            "feature,rater,score\n"
            + "".join(f"w{i},r{j},{words[(i + j) % 2]}\n" for i in range(n) for j in range(2))
        )
        looked.clear()
        found = Ratings.read(path)
        assert len(found.features) == n
        assert sum(looked) == 2 * n


def test_free_text_is_no_score(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{i},{r},answer {i} of {r} in some words of their own" for i in range(3) for r in "ab"]
    path.write_text("item,rater,response\n" + "\n".join(rows))
    with pytest.raises(ValueError, match="no column is left for the score.*--score"):
        Ratings.read(path)
    levels = ("not at all useful for what I wanted to do", "very useful for everything I wanted to do")
    path.write_text(
        "item,rater,response\n" + "\n".join(f"{i},{r},{levels[i % 2]}" for i in range(3) for r in "ab")
    )
    assert Ratings.read(path).categories == levels


@pytest.mark.parametrize("form", ["mturk", "appen", "toloka", "pairwise", "respondents", "wide", "long"])
def test_a_table_said_to_be_another_is_refused_by_column(form: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("thing,who,age\n1,a,30\n2,b,40\n")
    with pytest.raises(ValueError, match=r"t\.csv.*'thing'"):
        Ratings.read(path, form)


def test_records_with_a_map_say_what_its_keys_are(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"id": 7, "scores": {"clarity": 3, "use": 4}}))
    with pytest.raises(ValueError, match=r"'clarity', 'use'.*raters=.*question=\['clarity', 'use'\]"):
        Ratings.read(path)


@pytest.mark.parametrize(
    "text",
    [
        "item,rater,score\n1,a,3\n2,b,4\n",
        "\n\nitem;rater;score\r\n1;a;3,5\r\n\r\n2;b;1,25",
        "item\trater\tscore\n\n007\tÄ\t 3 \n\n\n,b\tb\t\n",
        "item|rater|score\n1|a|\n|b|NA\n",
        '"item","rater","score"\n"1","a, b","3"\n"","","NA"\n\n2,"c",4',
    ],
)
@pytest.mark.parametrize("header", [True, False])
def test_both_readers_of_csv_give_the_same(text: str, header: bool) -> None:
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    fast = tables._by_arrow(text, "t.csv", delimiter, header)
    slow = tables._row_by_row(text, "t.csv", delimiter, header)
    assert fast is not None
    assert list(fast.lines) == list(slow.lines)
    assert {n: c.cells() for n, c in fast.columns.items()} == {n: c.cells() for n, c in slow.columns.items()}


@pytest.mark.parametrize(
    "text",
    [
        'item,rater,score\n1,"a",3"\n', 'item,rater,score\n1,"a""b",3\n', 'item,rater,score\n1,"a\nb",3\n',
        'item,rater\n1,"a\nb, c"\n', 'item,rater,score\n1,"a,",3\n', "item,rater,score\n1,a\n", "item\n1\n",
        "a,b\r1,2\r",
    ],
)  # fmt: skip
def test_what_the_fast_reader_leaves_to_the_other(text: str) -> None:
    assert tables._by_arrow(text, "t.csv", ",", True) is None


def test_the_calls_advised_keep_what_was_told(tmp_path: Path) -> None:
    """Followed one after the other, they end in a table that is read."""
    path = tmp_path / "x.csv"
    path.write_text("comment_id,worker_id,toxicity,age\n1,w1,0.5,20\n1,w2,1,33\n2,w1,0,20\n")
    told: dict[str, Any] = {}
    for _ in range(2):
        with pytest.raises(ValueError, match="Ratings.read") as refused:
            Ratings.read(path, **told)
        pairs = str(refused.value).split("--columns ")[1].split(")")[0].split()
        told = {"columns": dict(pair.split("=") for pair in pairs)}
    assert told == {"columns": {"item": "comment_id", "score": "toxicity"}}
    assert scores_of(Ratings.read(path, **told)) == {(1, "w1"): 0.5, (1, "w2"): 1, (2, "w1"): 0}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("image_left,image_right,choice\na,b,left\n", "format='pairwise', columns={'first': 'image_left', 'second': "),
        ("respondent,img1,img2\nann,4,5\n", r"format='respondents', question=\['img1', 'img2'\], columns={'rater': "),
        ("i1,ann,good\ni1,bob,bad\n", "columns={'rater': 0, 'item': 1, 'score': 2}"),
    ],
)  # fmt: skip
def test_a_table_without_an_item_is_refused_with_what_it_may_be(
    text: str, named: str, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=named):
        Ratings.read(tmp_path / "x.csv")
