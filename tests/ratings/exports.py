"""Exports as the tests of formats write them, and their rows."""

import ast
import json
import re
from pathlib import Path
from typing import Any

from hitl_fast.ratings import Ratings

DATA = Path(__file__).parent.parent / "data" / "ratings"


Row = tuple[Any, Any, Any, float, float]


def rows_of(ratings: Ratings) -> list[Row]:
    f = ratings.frame
    return list(zip(f.item, f.rater, f.feature, f.score, f.seconds, strict=True))


def plain(row: tuple[str, ...]) -> tuple[str, ...]:
    return (*row[:3], f"{float(row[3]):g}", f"{float(row[4]):g}" if row[4] else "")


def write(tmp_path: Path, value: Any, name: str = "export.json") -> Path:
    path = tmp_path / name
    path.write_text(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), encoding="utf-8"
    )
    return path


def task(*results: dict[str, Any], id: int = 1, **more: Any) -> dict[str, Any]:
    annotations = [
        {"completed_by": 10 + i, "was_cancelled": False, "lead_time": 2.0, "result": [r]}
        for i, r in enumerate(results)
    ]
    return {"id": id, "data": {"text": "x"}, "annotations": annotations, "predictions": [], **more}


def answer(kind: str, value: Any, name: str = "q") -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": kind, "value": {kind: value}}


def record(id: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": id, "fields": {"text": "x"}, "responses": {}, "suggestions": {}, **more}


def prodigy(input_hash: int = 1, answer: str = "accept", **more: Any) -> dict[str, Any]:
    return {"_input_hash": input_hash, "_task_hash": 9, "answer": answer, "_session_id": "s-ana", **more}


def advised(message: str) -> list[dict[str, Any]]:
    """The arguments of each call that a message advises."""
    found = []
    for start in (m.start() for m in re.finditer(r"Ratings\.read\(", message)):
        ends = [end for end in range(start, len(message)) if message[end] == ")"]
        for end in ends:
            try:
                tree = ast.parse(message[start : end + 1], mode="eval").body
            except SyntaxError:
                continue
            assert isinstance(tree, ast.Call)
            found.append({str(k.arg): ast.literal_eval(k.value) for k in tree.keywords})
            break
    return found
