"""Tables of ratings: CSV, flat JSON records and Parquet, long (a row a rating) or wide (a column a rater)."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress, repeat
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .answers import APART, SUBMITTED, UNKNOWN, Answers, as_float, expect, identity, reason_apart, seconds_of
from .text import Record, read_text

# What a column may be called, the first found of each role being it; case, blanks and dashes do not count.
NAMES: dict[str, tuple[str, ...]] = {
    "item": (
        "item", "item_id", "sample", "sample_id", "task", "task_id", "image", "image_id", "example", "example_id",
        "unit", "unit_id", "stimulus", "stimulus_id", "case", "case_id", "question_id", "text_id", "prompt_id",
        "video", "video_id", "audio", "clip", "item_name", "hitid", "record_id", "document", "document_id", "doc_id",
        "instance", "instance_id", "object", "object_id", "index", "idx", "position",
        "row", "row_id", "uid", "uuid", "key", "id", "filename", "file",
    ),
    "rater": (
        "rater", "rater_id", "annotator", "annotator_id", "worker", "worker_id", "user", "user_id", "coder",
        "coder_id", "judge", "judge_id", "labeler", "labeller", "labeler_id", "participant", "participant_id",
        "reviewer", "person", "session", "session_id", "_session_id", "_annotator_id", "completed_by",
        "respondent", "username", "email", "annotator_name", "rater_name", "worker_name", "user_name", "workerid",
    ),
    "score": (
        "score", "rating", "value", "importance", "label", "response", "answer", "grade", "stars", "judgement",
        "judgment", "vote",
    ),
    "feature": (
        "feature", "feature_id", "feature_name", "attribute", "aspect", "dimension", "criterion", "question",
    ),
    "seconds": (
        "seconds", "lead_time", "duration", "duration_s", "time_spent", "seconds_spent", "elapsed",
        "response_time", "time_s", "work_time", "worktimeinseconds",
    ),
    "milliseconds": ("milliseconds", "duration_ms", "time_ms", "rt", "rt_ms", "response_time_ms", "elapsed_ms"),
    "status": ("status", "state", "response_status"),
    "gold": ("ground_truth", "is_gold", "gold", "is_ground_truth", "gold_label", "truth"),
    "prediction": ("prediction", "is_prediction", "predicted", "is_model", "model_prediction", "model_score"),
}  # fmt: skip
FLAGS = {
    "was_cancelled": "cancelled", "cancelled": "cancelled", "canceled": "cancelled", "skipped": "skipped",
    "is_skipped": "skipped", "skip": "skipped", "draft": "draft", "is_draft": "draft", "discarded": "discarded",
    "rejected": "rejected",
}  # fmt: skip
# Columns that a tool adds and that never hold a rating.
NEVER = {
    "created_at", "updated_at", "timestamp", "time", "date", "submitted_at", "started_at", "text", "comment",
    "comments", "notes", "note", "url", "path", "data",
}  # fmt: skip
# Columns beside a wide table's raters that hold what was made of the ratings, or what a model says.
DERIVED = {
    "mean", "average", "avg", "median", "mode", "majority", "majority_vote", "consensus", "std", "stdev", "sd",
    "variance", "sum", "total", "count", "n", "num_ratings", "n_ratings", "agreement",
    "mean_score", "mean_rating", "average_score", "average_rating", "avg_score", "avg_rating", "final_score",
    "model", "pred", "predicted_score", "prediction_score", "ai_score", "confidence", "probability",
}  # fmt: skip
INNER = (
    "ratings",
    "scores",
    "annotations",
    "judgments",
    "judgements",
    "votes",
)  # a record's ratings inside it
# The rating's own, where it is inside a record.
OWN = {"id", "uid", "uuid", "key", "index", "idx", "position", "row", "row_id"}
NOTHING = {"", "na", "n/a", "nan", "none", "null", "-", "--", "?", "missing"}
DECLINED = {"skip", "skipped", "don't know", "dont know", "idk", "not sure", "unsure", "cancelled", "pass"}
TRUE, FALSE = {"true", "1", "yes", "t", "y", "1.0"}, {"false", "0", "no", "f", "n", "", "0.0", "nan", "none"}

ROWS = 4096  # of a CSV file that are kept as rows


@dataclass
class Table:
    """Columns of cells (text, numbers or None), the line of each row, and which columns a map of ratings named."""

    name: str
    columns: dict[str, list[Any]]
    lines: list[int] | range
    mapped: frozenset[str] = frozenset()

    def where(self, row: int) -> str:
        return f"{self.name}, line {self.lines[row]}"


def from_csv(path: Path) -> Table:
    """Cells as text; the delimiter is that of the header (comma, semicolon, tab, bar)."""
    text = read_text(path)
    header = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t|", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    names: list[str] = []
    columns: list[list[Any]] = []
    before = 0
    try:
        for row in reader:
            line, before = before + 1, reader.line_num
            if not row:
                continue
            if not names:
                names = [cell.strip() for cell in row]
                columns = [[] for _ in names]
            elif len(row) != len(names):
                raise InputError(
                    f"{path.name}, line {line}: {len(row)} cells where the header has {len(names)}: the row is cut "
                    "off or a quote is missing"
                )
            else:
                rows.append(row)
                lines.append(line)
                if len(rows) == ROWS:
                    _take(rows, columns)
    except csv.Error as problem:
        raise InputError(f"{path.name}, line {before + 1}: {problem}") from None
    _check_names(names, path.name)
    _take(rows, columns)
    if delimiter == ";":
        columns = [_each(column, _decimal_comma) for column in columns]
    return Table(path.name, dict(zip(names, columns, strict=True)), lines)


def _take(rows: list[list[str]], columns: list[list[Any]]) -> None:
    """Move cells from rows to columns: the garbage collector looks at every list that is there, again and again."""
    for column, cells in zip(
        columns, zip(*rows, strict=True), strict=False
    ):  # no cells where there are no rows
        column.extend(cells)
    rows.clear()


def from_parquet(path: Path) -> Table:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
    except ArrowException as problem:
        raise InputError(f"{path.name}: not a whole Parquet file: {problem}") from None
    _check_names(table.column_names, path.name)
    names = sorted(table.column_names, key=lambda n: not _is_index(n))  # pandas writes an index last
    return Table(path.name, {n: table.column(n).to_pylist() for n in names}, range(1, table.num_rows + 1))


def from_records(records: list[Record], name: str, item: str | None = None) -> Table:
    """Flat JSON objects; a key that a record lacks is an empty cell. The item is under the key ``item`` if given."""
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    mapped: set[str] = set()
    for line, record in records:
        expect(isinstance(record, dict), f"{name}, line {line}", "a JSON object", record)
        for row in _flat(record, item, mapped):
            for key, cell in row.items():
                columns.setdefault(str(key), [None] * len(lines)).append(cell)
            lines.append(line)
            for column in columns.values():
                if len(column) < len(lines):
                    column.append(None)
    return Table(name, columns, lines, frozenset(mapped))


def _flat(record: dict[str, Any], item: str | None, mapped: set[str]) -> list[dict[str, Any]]:
    """Rows of a record: one if its "ratings" are a map, whose keys join ``mapped``, several if they are a list."""
    key = next((k for k in INNER if isinstance(record.get(k), dict | list)), None)
    if key is None:
        return [record]
    outer, inner = {k: v for k, v in record.items() if not isinstance(v, dict | list)}, record[key]
    ids = {k: v for k, v in outer.items() if v is not None and (k == item or _is(k, "item"))}
    if isinstance(inner, dict):
        mapped.update(map(str, inner.keys() - ids.keys()))
        return [{**outer, **inner, **ids}]
    by_rater = any(_is(k, "rater") for k in outer)
    rows = []
    for row in inner:
        if isinstance(row, dict):
            of_item = ids and (not by_rater or any(_is(k, "rater") for k in row))
            own = {k for k in row if k in ids or (_plain(k) in OWN and k != item)} if of_item else ()
            rows.append({**outer, **{k: v for k, v in row.items() if k not in own}})
    return rows or [record]


def _is(name: str, role: str) -> bool:
    return _plain(name) in NAMES[role]


def _check_names(names: list[str], source: str) -> None:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise InputError(f"{source}, line 1: two columns are called {twice[0]!r}")


def _decimal_comma(cell: str) -> str:
    whole, comma, part = cell.partition(",")
    return f"{whole}.{part}" if comma and (whole.lstrip("+-") + part).isdigit() else cell


def read(table: Table, form: str | None, given: dict[str, str], question: list[str] | None) -> Answers:
    """Answers of a table in the ``form`` "long" or "wide", or whichever it is.

    Args:
        table: the cells.
        form: "long", "wide" or None.
        given: role -> column name, before what names tell.
        question: columns to read as questions of a long table.

    Raises:
        ValueError: it is neither, and says which columns were looked for; or it may be both.
    """
    mapped = _mapped_raters(table, given) if form != "long" and question is None else []
    roles = _roles(table, given, [n for n in table.columns if n not in mapped])
    others = mapped or [n for n in table.columns if n not in roles.values() and not _is_plumbing(n)]
    long = not mapped and ("rater" in roles or "score" in roles or question is not None or "feature" in roles)
    if form is None and long and "rater" not in roles and "score" not in given and question is None:
        _refuse_either(table, roles, others)
    if form == "long" or (form is None and long):
        questions = question or ([roles["score"]] if "score" in roles else _numeric(table, others))
        if questions and ("item" in roles or "feature" in roles):
            answers = _read_long(table, roles, questions, named=question is not None or len(questions) > 1)
            spare = [n for n in _numeric(table, others) if n not in questions]
            answers.unread |= dict.fromkeys(spare, "another column of numbers")
            return answers
    elif "item" in roles or _first_is_index(table):
        if form is None:  # columns of text alone describe the items
            raters = _may_be_raters(table, others)
        elif any(_numbers_in(table.columns[n]) for n in others):
            raters = [n for n in others if not _all_words(table.columns[n])]
        else:
            raters = others
        if raters:
            answers = _read_wide(table, roles, raters, by_feature="feature" in given)
            used = {roles.get(role) for role in NAMES if role not in ("rater", "score")}
            for name in table.columns:
                if name in raters or name in used or _is_plumbing(name):
                    continue
                if _plain(name) in DERIVED:
                    answers.unread[name] = "computed from the ratings, or by a model"
                elif _numbers_in(table.columns[name]):
                    answers.unread[name] = "another column of numbers"
                elif form == "wide":
                    answers.unread[name] = "words, where others are numbers"
            return answers
    raise InputError(
        f"{table.name}, line 1: no ratings found in the columns {', '.join(map(repr, table.columns)) or '(none)'}. "
        f"Long form needs an item ({', '.join(NAMES['item'][:3])} ...), a rater ({', '.join(NAMES['rater'][:3])} "
        f"...) and a score ({', '.join(NAMES['score'][:3])} ...), wide form an item and a column of numbers a rater; "
        "columns={'item': ..., 'rater': ..., 'score': ...} names them"
    )


def _mapped_raters(table: Table, given: dict[str, str]) -> list[str]:
    """The columns that maps named, if that is after raters: not where these are named beside or inside them."""
    mapped = [n for n in table.columns if n in table.mapped]
    outer = [n for n in table.columns if n not in table.mapped]
    named = "rater" in _roles(table, given, outer) or "score" in _roles(table, {}, mapped)
    return [] if named else mapped


def _refuse_either(table: Table, roles: dict[str, str], others: list[str]) -> None:
    """Refuse a table that names no rater and in which several columns may be raters' or something else."""
    rivals = _may_be_raters(table, others)
    if len(rivals) > 1 and not {"feature", "score"} <= roles.keys():
        one = repr(roles["score"]) if "score" in roles else "them"
        raise InputError(
            f"{table.name}, line 1: no column says who the raters are, and {', '.join(map(repr, rivals))} may be a "
            f"rater each or something else: format='wide' reads each as a rater, format='long' reads {one} as one "
            "rater's answers"
        )


def _roles(table: Table, given: dict[str, str], names: list[str]) -> dict[str, str]:
    """Which column has which role: as given, else the first of ``names`` that is called so."""
    for role, column in given.items():
        if role not in NAMES:
            raise InputError(f"columns: no role {role!r}; there are {', '.join(NAMES)}")
        if column not in table.columns:
            raise InputError(
                f"{table.name}: no column {column!r}; there are {', '.join(map(repr, table.columns))}"
            )
    roles, plain = dict(given), {_plain(name): name for name in reversed(names)}
    for role, called in NAMES.items():
        free = (plain[n] for n in called if n in plain and plain[n] not in roles.values())
        found = next(free, None)
        if role not in roles and found is not None:
            roles[role] = found
    return roles


@lru_cache
def _plain(name: str) -> str:
    """As `NAMES` has it: "Score (1-5)" is score."""
    bare = re.sub(r"\(.*?\)|\[.*?\]", "", str(name))
    return re.sub(r"[\s-]+", "_", bare.strip().lower())


def _is_plumbing(name: str) -> bool:
    """Columns of a tool or of pandas' index, which hold no ratings."""
    return _plain(name) in NEVER or _plain(name) in FLAGS or _is_index(name)


def _is_index(name: str) -> bool:
    return name == "" or name.lower().startswith(("unnamed:", "__index_level_"))


def _first_is_index(table: Table) -> bool:
    first = next(iter(table.columns), None)
    return first is not None and _is_index(first)


def _numeric(table: Table, names: list[str]) -> list[str]:
    """The columns in which every cell that holds something holds a number."""
    return [n for n in names if _all_numbers(table.columns[n])]


def _all_numbers(cells: list[Any]) -> bool:
    some = False
    for cell in cells:
        value = _cell(cell)
        if value is not None:
            if isinstance(value, str) and value.strip().lower() in DECLINED:
                continue
            if not isinstance(value, float):
                return False
            some = True
    return some


def _may_be_raters(table: Table, names: list[str]) -> list[str]:
    return [n for n in names if _plain(n) not in DERIVED and _numbers_in(table.columns[n])]


def _all_words(cells: list[Any]) -> bool:
    """Whether what is answered in a column, if anything, is words."""
    given = [v for v in map(_cell, cells) if v is not None and not _declines(v)]
    return bool(given) and not any(isinstance(v, float) for v in given)


def _numbers_in(cells: list[Any]) -> bool:
    return any(isinstance(_cell(cell), float) for cell in cells)


def _cell(cell: Any) -> Any:
    """A float, other text, or None for nothing."""
    if isinstance(cell, str):
        text = cell.strip()
        try:
            number = float(text)
        except ValueError:
            return None if text.lower() in NOTHING else text
        return None if math.isnan(number) else number
    if cell is None or isinstance(cell, bool):
        return cell if cell is None else float(cell)
    if isinstance(cell, int | float):
        return None if cell != cell else as_float(cell)
    return cell


def _read_long(table: Table, roles: dict[str, str], questions: list[str], named: bool) -> Answers:
    answers = Answers(table.name, "long table")
    missing = [q for q in questions if q not in table.columns]
    if missing:
        raise InputError(
            f"{table.name}: no column {missing[0]!r}; there are {', '.join(map(repr, table.columns))}"
        )
    rows = len(table.lines)
    empty: list[Any] = [None] * rows
    items = _identities(table, _column(table, roles, "item") or empty, "item")
    features = _identities(table, _column(table, roles, "feature") or empty, "feature")
    given = _column(table, roles, "rater")
    raters = ["rater"] * rows if given is None else _identities(table, given, "rater")
    values = {question: _each(table.columns[question], _cell) for question in questions}
    seconds = _seconds(table, roles)
    aside = _Aside(table, roles, questions)
    answers.by_feature = "feature" in roles
    left: Iterable[int] = range(rows)
    if len(questions) == 1 and not aside.values:
        name = questions[0] if named and not answers.by_feature else ""
        left = _add_plain(answers, items, raters, features, values[questions[0]], seconds, table, aside, name)
    for row in left:
        item, feature, rater = items[row], features[row], raters[row]
        if item is None and feature is None:
            raise InputError(f"{table.where(row)}: no item in column {roles.get('item', 'item')!r}")
        if item is not None:
            answers.seen[item] = None
        reason = aside.reason(row)
        for question in questions:
            value = values[question][row]
            name = "" if feature is None else str(feature)
            if named and not answers.by_feature:
                name = question
            if reason == "gold" and value is not None:
                answers.gold.append((item, name, value, table.lines[row]))
            elif reason == "prediction" and value is not None:
                model = "model" if rater is None else rater
                answers.predictions.append((item, model, name, value, table.lines[row]))
            elif reason is not None or value is None or _declines(value):
                why = reason or ("empty" if value is None else "skipped")
                answers.apart.append((item, UNKNOWN if rater is None else rater, why, seconds[row]))
            elif rater is None:
                raise InputError(f"{table.where(row)}: no rater in column {roles['rater']!r}")
            else:
                answers.add(item, rater, name, value, seconds[row], table.lines[row])
            aside.keep_values(answers, row, item, name)
    return answers


def _add_plain(
    answers: Answers,
    items: list[Any],
    raters: list[Any],
    features: list[Any],
    values: list[Any],
    seconds: list[float],
    table: Table,
    aside: _Aside,
    name: str,
) -> list[int]:
    """Add the rows that are ratings beyond doubt, a column at a time; returns the others, in their order."""
    plain = [
        not (odd or rater is None or value is None or (item is None and feature is None))
        for item, feature, rater, value, odd in zip(items, features, raters, values, aside.odd(), strict=True)
    ]
    if set(map(type, values)) != {float}:
        plain = [p and not _declines(value) for p, value in zip(plain, values, strict=True)]
    answers.seen |= dict.fromkeys(item for item in items if item is not None)
    answers.item.extend(compress(items, plain))
    answers.rater.extend(compress(raters, plain))
    answers.question.extend(name or ("" if f is None else str(f)) for f in compress(features, plain))
    answers.value.extend(compress(values, plain))
    answers.seconds.extend(compress(seconds, plain))
    answers.line.extend(compress(table.lines, plain))
    answers.time.extend([None] * (len(answers.item) - len(answers.time)))
    return [row for row, done in enumerate(plain) if not done]


def _declines(value: Any) -> bool:
    return isinstance(value, str) and value.lower() in DECLINED


def _each(cells: list[Any], read: Callable[[Any], Any]) -> list[Any]:
    """``read`` of every cell, once for each different text or integer: 1, 1.0 and True are equal, but not alike."""
    kinds = set(map(type, cells)) - {type(None)}
    if kinds in ({str}, {int}):
        known = {cell: read(cell) for cell in set(cells)}
        return [known[cell] for cell in cells]
    return [read(cell) for cell in cells]


def _read_wide(table: Table, roles: dict[str, str], raters: list[str], by_feature: bool) -> Answers:
    """Ratings of items, or of their features where that is asked for or an item has several rows."""
    answers = Answers(table.name, "wide table")
    items = _identities(table, table.columns[roles.get("item", next(iter(table.columns)))], "item")
    aside = _Aside(table, roles, raters)
    answers.by_feature = "feature" in roles and (by_feature or len(set(items)) < len(items))
    features: list[Any] = [None] * len(items)
    if answers.by_feature:
        features = _identities(table, table.columns[roles["feature"]], "feature")
    for row in range(len(table.lines)):
        item = items[row]
        name = "" if features[row] is None else str(features[row])
        if item is None:
            raise InputError(f"{table.where(row)}: no item in column {roles.get('item', '')!r}")
        answers.seen[item] = None
        reason = aside.reason(row)
        for rater in raters:
            value = _cell(table.columns[rater][row])
            if value is None:
                continue  # not asked: a wide table has a cell for everybody
            if reason == "gold":
                answers.gold.append((item, name, value, table.lines[row]))
            elif reason == "prediction":
                answers.predictions.append((item, rater, name, value, table.lines[row]))
            elif reason is not None:
                answers.apart.append((item, rater, reason, math.nan))
            elif _declines(value):
                answers.apart.append((item, rater, "skipped", math.nan))
            else:
                answers.add(item, rater, name, value, math.nan, table.lines[row])
        aside.keep_values(answers, row, item, name)
    return answers


class _Aside:
    """Columns that say that a row is no rating, or that hold a truth or a prediction beside it."""

    def __init__(self, table: Table, roles: dict[str, str], scores: list[str]) -> None:
        self.table = table
        self.status = _column(table, roles, "status")
        self.flags = {
            reason: table.columns[name]
            for name in table.columns
            if (reason := FLAGS.get(_plain(name))) and name not in roles.values()
        }
        self.values: dict[str, list[Any]] = {}
        for role in ("gold", "prediction"):
            cells = _column(table, roles, role)
            if cells is None:
                continue
            if _is_flag(roles[role], cells, [table.columns[name] for name in scores]):
                self.flags[role] = cells
            else:
                self.values[role] = cells

    def odd(self) -> Iterable[bool]:
        """For each row, whether `reason` has to look at it."""
        columns = [([_text(cell) for cell in cells], FALSE) for cells in self.flags.values()]
        if self.status is not None:
            columns.append(([_text(cell) for cell in self.status], SUBMITTED))
        odd = [[text not in usual for text in texts] for texts, usual in columns]
        return map(any, zip(*odd, strict=True)) if odd else repeat(False, len(self.table.lines))

    def reason(self, row: int) -> str | None:
        for reason, cells in self.flags.items():
            text = _text(cells[row])
            expect(text in TRUE | FALSE, self.table.where(row), f"true or false for {reason}", cells[row])
            if text in TRUE:
                return reason
        if self.status is None:
            return None
        text = _text(self.status[row])
        if text in ("gold", "ground_truth", "ground truth"):
            return "gold"
        if text in ("prediction", "predicted", "model"):
            return "prediction"
        try:
            return reason_apart(text)
        except KeyError:
            known = sorted({*filter(None, SUBMITTED), *APART, "ground_truth", "prediction"})
            expect(False, self.table.where(row), f"a status among {', '.join(known)}", self.status[row])
            raise

    def keep_values(self, answers: Answers, row: int, item: Any, question: str) -> None:
        """A truth or a prediction in a column of its own, kept beside the ratings."""
        line = self.table.lines[row]
        for role, cells in self.values.items():
            value = _cell(cells[row])
            if value is None:
                continue
            if role == "gold":
                answers.gold.append((item, question, value, line))
            else:
                answers.predictions.append((item, "model", question, value, line))


def _is_flag(name: str, cells: list[Any], scores: list[list[Any]]) -> bool:
    """Whether a column says that a row is a truth or a prediction, rather than what that is.

    Where the scores are of two values, truths and predictions written like them are values too; "is_" says that
    they are flags.
    """
    plain, texts = _plain(name), {_text(c) for c in cells}
    if not texts <= TRUE | FALSE or plain.endswith(("_label", "_score")):
        return False
    written = {_text(c).removesuffix(".0") for column in scores for c in column if _cell(c) is not None}
    alike = {t.removesuffix(".0") for t in texts - {""}} <= written <= TRUE | FALSE
    return plain.startswith("is_") or not alike


def _column(table: Table, roles: dict[str, str], role: str) -> list[Any] | None:
    return table.columns[roles[role]] if role in roles else None


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip().lower()


def _seconds(table: Table, roles: dict[str, str]) -> list[float]:
    for role, factor in (("seconds", 1.0), ("milliseconds", 1e-3)):
        cells = _column(table, roles, role)
        if cells is not None:
            return [spent * factor for spent in _each(cells, lambda cell: seconds_of(_cell(cell)))]
    return [math.nan] * len(table.lines)


def _identities(table: Table, cells: list[Any], role: str) -> list[Any]:
    """Ids of a column; the first cell that can be none is refused with its line."""
    if not {list, dict}.isdisjoint(map(type, cells)):
        for row, cell in enumerate(cells):
            identity(cell, role, table.where(row))
    return _each(cells, _identity)


def _identity(cell: Any) -> Any:
    """Text or an integer; None where nothing is there."""
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, bool):
        return str(cell)  # which is not the item 1
    if isinstance(cell, float | np.floating):
        return None if math.isnan(cell) else int(cell) if cell.is_integer() else str(cell)
    return cell
