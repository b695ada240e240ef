"""Every score of every export in its place, and damaged or foreign files refused with their line."""

import csv
import gzip
import json
import math
from pathlib import Path

import pytest
from exports import DATA, Row, answer, plain, rows_of, task, write

from hitl_fast.ratings import Ratings

COUNTS = json.loads((DATA / "expected.json").read_text())


EXPECTED = {"long.jsonl": "long_jsonl", "long.parquet": "long_parquet"}


def expected_rows(name: str) -> list[tuple[str, ...]]:
    path = DATA / f"{EXPECTED.get(name, Path(name).stem)}.expected.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def as_text(row: Row) -> tuple[str, ...]:
    item, rater, feature, score, seconds = row
    return (
        "" if item is None else str(item),
        str(rater),
        feature or "",
        f"{score:g}",
        "" if math.isnan(seconds) else f"{seconds:g}",
    )


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_an_export_is_read_whole(name: str) -> None:
    ratings = Ratings.read(DATA / name, "wide" if name == "wide.csv" else None)
    assert sorted(map(as_text, rows_of(ratings))) == sorted(map(plain, expected_rows(name)))
    found = ratings.skipped.reason.value_counts().to_dict()
    found |= {"ground_truth": len(ratings.ground_truth), "predictions": len(ratings.predictions)}
    found["unrated"] = len(ratings.unrated)
    assert {k: v for k, v in found.items() if v} == {k: v for k, v in COUNTS[name].items() if v}
    assert list(ratings.frame.columns) == ["item", "rater", "score", "seconds", "feature"]
    assert ratings.frame.score.dtype == ratings.frame.seconds.dtype == "float64"


@pytest.mark.parametrize("name", [n for n in sorted(COUNTS) if not n.endswith(".parquet")])
@pytest.mark.parametrize("where", [0.35, 0.8])
def test_a_truncated_export_is_refused_with_its_line(name: str, where: float, tmp_path: Path) -> None:
    data = (DATA / name).read_bytes()
    cut = int(len(data) * where)
    while (
        data[cut - 1 : cut] in (b"\n", b"}", b"]", b",", b";")
        or data[cut] & 0xC0 == 0x80
        or data[cut] in b"\r\n"
    ):
        cut += 1
    path = tmp_path / name
    path.write_bytes(data[:cut])
    line = data[:cut].count(b"\n") + 1
    if name.endswith(".json"):  # a record is named by the line that it starts on
        line = data[: data.rindex(b"\n {\n", 0, cut) + 1].count(b"\n") + 1
    if name.endswith(".csv"):
        # Cut inside the last cell, a table looks whole: cut at its row's last delimiter instead.
        delimiter = b";" if name == "wide.csv" else b","
        path.write_bytes(data[: data.rindex(delimiter, 0, cut)])
        line = data[: data.rindex(delimiter, 0, cut)].count(b"\n") + 1
    with pytest.raises(ValueError, match=rf"{name}, line \d+: ") as problem:
        Ratings.read(path)
    assert int(str(problem.value).split("line ")[1].split(":")[0]) == line


def test_a_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    path.write_bytes((DATA / "long.parquet").read_bytes()[:2000])
    with pytest.raises(ValueError, match="not a whole Parquet file"):
        Ratings.read(path)


def test_encodings_and_compression(tmp_path: Path) -> None:
    text = "item,rater,score\nß,ünal,3\n"
    for name, data in {
        "bom.csv": text.encode("utf-8-sig"), "utf16.csv": text.encode("utf-16"),
        "gz.csv.gz": gzip.compress(text.encode()),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert rows_of(Ratings.read(tmp_path / name))[0][:4] == ("ß", "ünal", None, 3)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(text.encode() * 50)[:40])
    with pytest.raises(ValueError, match="gzip file is cut off or damaged"):
        Ratings.read(tmp_path / "cut.csv.gz")
    (tmp_path / "latin.csv").write_bytes(b"item,rater,score\nok,a,1\n\xdf,a,3\n")
    with pytest.raises(ValueError, match=r"latin.csv, line 3: not utf-8-sig text"):
        Ratings.read(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        ("[]", "line 1: no records in the file"),
        (
            '{"images": [], "categories": []}',
            "line 1: not a file of ratings that is known. Looked for: Label Studio",
        ),
        ('[{"a": 1},\n 3]', "line 2: expected a JSON object, not 3"),
        ('[{"item": 1, "rater": 1, "score": 2}\n {"item": 1}]', "line 2: a comma is missing between records"),
        ('[{"item": 1, "rater": 1, "score": 2}]\n{}', "more text follows the end of the list"),
        (
            '{"item": 1, "rater": 1, "score": 2}\n{"item": 1,, }',
            r"line 2: the record is not JSON: .* \(1 whole",
        ),
        ("[" * 100_000, "line 1: the record (is nested too deeply|is cut off)"),
        ("name,colour\na,red\n", "line 1: no ratings found in the columns 'name', 'colour'"),
        (
            "item,rater,score\n1,a,3\n1,b,bad\n1,c,4\n",
            "line 3: the answer is 'bad', where others are numbers",
        ),
        ("item,rater,score\n1,a,3\n1,b,inf\n", "line 3: the score is inf, not a finite number"),
        ("item,rater,score\n1,a\n", "line 2: 2 cells where the header has 3"),
        ('item,rater,score\n"a\nb",a,3\n1,"b,3\n', "line 4: "),
        ("item,item,score\n1,1,3\n", "line 1: two columns are called 'item'"),
        ("item,rater,score\n,a,3\n", "line 2: no item in column 'item'"),
        ("item,rater,score\n1,,3\n", "line 2: no rater in column 'rater'"),
        (
            "item,rater,score,skipped\n1,a,3,perhaps\n",
            "line 2: expected true or false in column 'skipped', not 'perhaps'",
        ),
        ("item,rater,score,status\n1,a,3,odd\n", "line 2: expected in column 'status' a status among"),
        ("item,rater,score\n1,a,\n", "no ratings in it .long table: 1 items, 1 answers"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text, "file.txt")
    with pytest.raises(ValueError, match=message) as problem:
        Ratings.read(path)
    assert "file.txt" in str(problem.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        Ratings.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        Ratings.read(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="line 2: expected a task with 'data' and 'annotations', not"):
        Ratings.read(write(tmp_path, f'[{json.dumps(task(answer("rating", 1)))},\n{{"id": 2}}]'))
    with pytest.raises(ValueError, match="line 1: expected 'annotations' as a list"):
        Ratings.read(write(tmp_path, [{"id": 1, "data": {}, "annotations": {}}]))
    with pytest.raises(ValueError, match=r"t.csv, line 3: 9 is outside the scale 1 to 5"):
        Ratings.read(write(tmp_path, "item,rater,score\n1,a,3\n1,b,9\n", "t.csv"), scale=(1, 5))
