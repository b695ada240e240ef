"""Exports of every platform with columns beside the ratings, in any order, are read rightly or refused."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_fast.ratings import Ratings

ITEMS, RATERS = 5, 3
Truth = dict[tuple[str, str], float]
Draw = Callable[[np.random.Generator, int], Any]
EXTRA: dict[str, Draw] = {
    "age": lambda g, n: g.integers(18, 80, n),
    "score": lambda g, n: g.integers(1, 6, n),
    "rating": lambda g, n: g.random(n).round(3),
    "label": lambda g, n: g.integers(0, 2, n),
    "value": lambda g, n: g.integers(0, 9, n),
    "answer_length": lambda g, n: g.integers(1, 90, n),
    "item": lambda g, n: g.permutation(n),
    "id": lambda g, n: 1000 + g.permutation(n),
    "index": lambda g, n: np.arange(n),
    "Unnamed: 0": lambda g, n: np.arange(n),
    "user_id": lambda g, n: g.integers(0, 3, n),
    "status_code": lambda g, n: g.integers(0, 3, n),
    "category": lambda g, n: g.choice(["sport", "news"], n),
    "text": lambda g, n: [f"some text number {i} that is long enough to be prose" for i in range(n)],
    "submitted_at": lambda g, n: [f"2026-01-01 {i % 24:02}:00:00" for i in range(n)],
    "created_utc": lambda g, n: 1_700_000_000 + np.arange(n),
}  # fmt: skip


def truth_of(generator: np.random.Generator) -> Truth:
    """Scores of 1 to 5; not every rater has rated every item."""
    cells = [(f"i{i}", f"r{r}") for i in range(ITEMS) for r in range(RATERS)]
    kept = [cells[k] for k in np.sort(generator.permutation(len(cells))[: len(cells) - 3])]
    return {cell: float(generator.integers(1, 6)) for cell in kept}


@dataclass
class Export:
    """What a platform writes.

    Attributes:
        path: the file.
        arguments: how it is read where nothing but the caller can know.
        automatic: whether it must be read without arguments.
    """

    path: Path
    arguments: dict[str, Any]
    automatic: bool = True


def shuffled(
    table: pd.DataFrame, extra: list[str], prefix: str, generator: np.random.Generator
) -> pd.DataFrame:
    """The table with further columns under a prefix, in any order of columns and rows."""
    more = {prefix + name: EXTRA[name](generator, len(table)) for name in extra if prefix + name not in table}
    table = table.assign(**more)
    columns = [table.columns[k] for k in generator.permutation(table.shape[1])]
    return table[columns].iloc[generator.permutation(len(table))]


def keyed(record: dict[str, Any], extra: list[str], generator: np.random.Generator) -> dict[str, Any]:
    """The record with further keys, in any order."""
    more = {n: EXTRA[n](generator, 1)[0] for n in extra}
    record = {**{n: v.item() if hasattr(v, "item") else v for n, v in more.items()}, **record}
    keys = list(record)
    return {keys[k]: record[keys[k]] for k in generator.permutation(len(keys))}


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def mturk(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
    rows = [
        {"HITId": i, "AssignmentId": f"A{k}", "WorkerId": r, "AssignmentStatus": "Submitted", "WorkTimeInSeconds": k,
         "Reward": "$0.05", "LifetimeApprovalRate": "100% (26/26)", "MaxAssignments": 3, "Answer.quality": s}
        for k, ((i, r), s) in enumerate(truth.items())
    ]  # fmt: skip
    table = shuffled(pd.DataFrame(rows), extra, "Input.", g).assign(Approve="", Reject="")
    table.to_csv(path := folder / "batch.csv", index=False, quoting=1)
    return Export(path, {})


def appen(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
    rows = [
        {"_unit_id": i, "_id": 100 + k, "_worker_id": r, "_trust": 0.9, "_created_at": "1/2/2026 10:00:00",
         "_golden": False, "quality": s}
        for k, ((i, r), s) in enumerate(truth.items())
    ]  # fmt: skip
    shuffled(pd.DataFrame(rows), extra, "", g).to_csv(path := folder / "f123.csv", index=False)
    return Export(path, {"question": "quality"}, automatic=not extra)


def toloka(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
    rows = [
        {"INPUT:image": f"{i}.png", "OUTPUT:quality": s, "GOLDEN:quality": "", "HINT:text": "", "ASSIGNMENT:task_id": i,
         "ASSIGNMENT:assignment_id": f"a{k}", "ASSIGNMENT:worker_id": r, "ASSIGNMENT:status": "APPROVED",
         "ASSIGNMENT:started": "2026-01-01T10:00:00.1", "ACCEPT:verdict": ""}
        for k, ((i, r), s) in enumerate(truth.items())
    ]  # fmt: skip
    shuffled(pd.DataFrame(rows), extra, "INPUT:", g).to_csv(path := folder / "t.tsv", index=False, sep="\t")
    return Export(path, {})


def argilla_1(shape: str, suffix: str) -> Callable[..., Export]:
    def make(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
        records = []
        for item in dict.fromkeys(i for i, _ in truth):
            given = [
                {"user_id": r, "value": int(s), "status": "submitted"}
                for (i, r), s in truth.items()
                if i == item
            ]
            answers: Any = given
            if shape == "sequence":
                answers = {key: [one[key] for one in given] for key in ("user_id", "value", "status")}
            record = {
                "quality": answers, "external_id": item, "quality-suggestion": 3, "metadata": "{}",
                "quality-suggestion-metadata": {"type": "model", "score": 0.5, "agent": "m"},
            }  # fmt: skip
            records.append({**keyed({}, [n for n in extra if n != "id"], g), **record})
        if suffix == "jsonl":
            return Export(lines(folder / "a.jsonl", records), {})
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(records), path := folder / "a.parquet")
        return Export(path, {})

    return make


def doccano(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
    more = [n for n in extra if n not in ("label", "id", "category", "text", "user_id")]
    records = [
        keyed({"id": i, "text": "some text", "label": [f"{s:g}"], "annotator": r}, more, g)
        for (i, r), s in truth.items()
    ]  # fmt: skip
    return Export(lines(folder / "d.jsonl", records), {})


def google_forms(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
    table = pd.Series(truth).unstack(0)
    table = table.rename_axis("Email Address").reset_index()
    table.insert(0, "Timestamp", "2026/01/01 10:00:00 AM GMT+1")
    shuffled(table, extra, "", g).to_csv(path := folder / "form.csv", index=False)
    items = list(dict.fromkeys(i for i, _ in truth))
    return Export(path, {"format": "respondents", "question": items}, automatic=False)


def qualtrics(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
    table = pd.Series(truth).unstack(0)
    table = table.rename_axis("ResponseId").reset_index()
    table.insert(0, "Progress", 100)
    table = shuffled(table, extra, "", g)
    head = pd.DataFrame(
        [
            {n: f"What of {n}?" for n in table.columns},
            {n: json.dumps({"ImportId": f"QID{k}"}) for k, n in enumerate(table.columns)},
        ]
    )
    pd.concat([head, table]).to_csv(path := folder / "qualtrics.csv", index=False)
    items = list(dict.fromkeys(i for i, _ in truth))
    return Export(path, {"format": "respondents", "question": items}, automatic=False)


def prodigy(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
    taken = ("rating", "label", "text", "id", "user_id")
    records = [
        keyed(
            {"text": "x", "_input_hash": i, "_task_hash": f"{i}t", "rating": s, "answer": "accept", "score": 0.25,
             "priority": 0.5, "_session_id": r, "_view_id": "blocks", "_timestamp": 1_700_000_000 + k},
            [n for n in extra if n not in taken and n != "score"], g,
        )
        for k, ((i, r), s) in enumerate(truth.items())
    ]  # fmt: skip
    return Export(lines(folder / "p.jsonl", records), {})


def label_studio(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
    tasks = []
    for item in dict.fromkeys(i for i, _ in truth):
        given = [
            {"id": k, "completed_by": r, "lead_time": 3.5, "was_cancelled": False,
             "result": [{"from_name": "quality", "to_name": "t", "type": "rating", "value": {"rating": int(s)}}]}
            for k, ((i, r), s) in enumerate(truth.items()) if i == item
        ]  # fmt: skip
        data = keyed({"text": "x"}, [n for n in extra if n != "text"], g)
        tasks.append(keyed({"id": item, "data": data, "annotations": given, "predictions": []}, [], g))
    (path := folder / "ls.json").write_text(json.dumps(tasks))
    return Export(path, {})


def label_studio_rows(suffix: str) -> Callable[..., Export]:
    def make(truth: Truth, extra: list[str], g: np.random.Generator, folder: Path) -> Export:
        rows = [
            {"id": i, "annotation_id": k, "annotator": r, "lead_time": 2.5, "created_at": "2026-01-01T00:00:00Z",
             "updated_at": "2026-01-01T00:00:00Z", "quality": s}
            for k, ((i, r), s) in enumerate(truth.items())
        ]  # fmt: skip
        table = shuffled(pd.DataFrame(rows), [n for n in extra if n != "id"], "", g)
        path = folder / f"min.{suffix}"
        if suffix == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_json(path, orient="records")
        return Export(path, {"question": "quality"}, automatic=False)

    return make


PLATFORMS: dict[str, Callable[..., Export]] = {
    "mturk": mturk,
    "appen": appen,
    "toloka": toloka,
    "argilla list jsonl": argilla_1("list", "jsonl"),
    "argilla list parquet": argilla_1("list", "parquet"),
    "argilla sequence jsonl": argilla_1("sequence", "jsonl"),
    "argilla sequence parquet": argilla_1("sequence", "parquet"),
    "doccano": doccano,
    "google forms": google_forms,
    "qualtrics": qualtrics,
    "prodigy": prodigy,
    "label studio": label_studio,
    "label studio json_min": label_studio_rows("json"),
    "label studio csv": label_studio_rows("csv"),
}


def scores_of(ratings: Ratings) -> Truth:
    f = ratings.frame
    return {(str(i), str(r)): s for i, r, s in zip(f.item, f.rater, f.score, strict=True)}


def attempt(path: Path) -> tuple[Ratings | None, str]:
    """The ratings, or the message that refuses them."""
    try:
        return Ratings.read(path), ""
    except ValueError as refused:
        return None, str(refused)


@pytest.mark.jit  # long: in the compiled pass alone
@pytest.mark.parametrize("platform", PLATFORMS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 999), extra=st.lists(st.sampled_from(sorted(EXTRA)), unique=True, max_size=5))
def test_an_export_with_columns_beside_the_ratings(
    platform: str, seed: int, extra: list[str], tmp_path: Path
) -> None:
    generator = np.random.default_rng(seed)
    truth = truth_of(generator)
    export = PLATFORMS[platform](truth, extra, generator, tmp_path)
    found, message = attempt(export.path)
    if found is None:
        assert not export.automatic, message
        assert export.path.name in message
        assert re.search(r"columns=|question=|raters=", message), message
    else:
        assert scores_of(found) == truth
        assert found.features == []
    told = Ratings.read(export.path, **export.arguments)
    assert scores_of(told) == truth
    assert told.features == []
    assert len(told) == len(truth)
