"""doccano's JSON lines: labels of texts, or of spans of them, by whoever the file is of."""

from __future__ import annotations

import math
from typing import Any

from .answers import UNKNOWN, AnswerList, Answers, Unreadable, expect, identity, value_at
from .text import Record
from .vocabulary import NAMES, plain

LABELS = ("label", "labels", "cats", "category", "categories")
RATERS = ("annotator", "user", "username", "annotated_by")


def is_record(record: Any) -> bool:
    """A text or file name with an id, and a list of labels or of annotations by numbered users."""
    if not isinstance(record, dict) or "id" not in record or not ({"text", "filename"} & record.keys()):
        return False
    annotations = record.get("annotations")
    if isinstance(annotations, list) and annotations:
        return all(isinstance(a, dict) and "label" in a and "user" in a for a in annotations)
    if any(isinstance(v, list) and plain(k).removesuffix("s") in NAMES["rater"] for k, v in record.items()):
        return False  # a label of each rater
    return (
        any(isinstance(record.get(key), list) for key in LABELS)
        and not {"responses", "ratings"} & record.keys()
    )


def read(records: list[Record], source: str, item_field: str | None) -> Answers:
    """Labels of texts. One label each is a choice, several are a checklist; spans are not read.

    The export of a project with several annotators is one file for each, whose records name nobody: give the files
    one by one, or add a key "annotator".
    """
    answers = AnswerList(source, "doccano JSONL")
    for number, (line, record) in enumerate(records):
        where = answers.at(line)
        expect(isinstance(record, dict), where, "a record with 'text' and 'label'", record)
        item = value_at(record, item_field, where) if item_field else record.get("id", number)
        item = identity(item, "item", where)
        answers.answers.seen[item] = None
        named = next((record[k] for k in RATERS if record.get(k) is not None), UNKNOWN)
        given: dict[Any, list[Any]] = {}
        for annotation in record.get("annotations") or []:
            expect(
                isinstance(annotation, dict) and "label" in annotation,
                where,
                "annotations with 'label'",
                annotation,
            )
            span = any(k in annotation for k in ("start_offset", "start"))
            label = annotation["label"]  # a number is that of the label in doccano, and no score
            name = f"label {label}" if isinstance(label, int) else str(label)
            value = Unreadable("spans") if span else name
            given.setdefault(annotation.get("user", named), []).append(value)
        for key in LABELS:
            for label in record.get(key) or [] if isinstance(record.get(key), list) else []:
                value = Unreadable("spans") if isinstance(label, list | dict) else str(label)
                given.setdefault(named, []).append(value)
        if not given:
            answers.skip(item, identity(named, "rater", where), "empty")
        for rater, labels in given.items():
            spans = [v for v in labels if isinstance(v, Unreadable)]
            answer = spans[0] if spans else labels
            answers.add(item, identity(rater, "rater", where), "label", answer, math.nan, line)
    return answers.finish()
