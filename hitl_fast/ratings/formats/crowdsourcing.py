"""Tables of crowdsourcing platforms and forms: MTurk batches, Appen reports, Toloka TSV, Google Forms, Qualtrics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from hitl_fast._common.errors import InputError

from . import pairwise
from .answers import Answers
from .cells import TRUE, cell_value, lower_text
from .choice_columns import BOX, merged, same_everywhere
from .column import Column
from .long_table import read_long
from .repeated import refuse_copies
from .request import Request
from .roles import Roles, numeric
from .row_status import RowStatus
from .several_choices import ticked
from .table import Table
from .task_answers import spread
from .vocabulary import FORM_COLUMNS, NAMES, PAIR_ROLES, RESPONDENT, is_about_a_person, is_called, plain

FORMATS = ("mturk", "appen", "toloka")
# Qualtrics' statuses of responses that are no answers, as numbers and as words.
NOT_MEANT = {
    "1", "2", "8", "9", "12", "17", "survey preview", "survey test", "preview", "spam", "preview spam", "imported spam",
    "offline preview",
}  # fmt: skip
TIMES = {"timestamp", "zeitstempel", "horodateur", "marca_temporal", "carimbo_de_data/hora"}
IMPORT_ID = re.compile(r'^\s*\{\s*"ImportId"')


def recognise(table: Table) -> str | None:
    """The platform whose columns these are, by names that no other table has."""
    names = set(table.columns)
    if {"HITId", "WorkerId"} <= names and any(n.startswith("Answer.") for n in names):
        return "mturk"
    if {"_unit_id", "_worker_id"} <= names:
        return "appen"
    if any(n.startswith("ASSIGNMENT:") for n in names) and any(n.startswith("OUTPUT:") for n in names):
        return "toloka"
    return None


def read(table: Table, tool: str, given: dict[str, str | None], request: Request) -> Answers:
    """Answers of a table in one of `FORMATS`; questions go by their names without the platform's prefix.

    Raises:
        ValueError: a column of the format is missing, which columns are answers cannot be told, or a row occurs twice.
    """
    return {"mturk": _mturk, "appen": _appen, "toloka": _toloka}[tool](table, given, request)


def _mturk(table: Table, given: dict[str, str | None], request: Request) -> Answers:
    columns = {
        "item": "HITId", "rater": "WorkerId", "seconds": "WorkTimeInSeconds", "status": "AssignmentStatus",
    }  # fmt: skip
    refuse_copies(table, ["AssignmentId"], request.repeats)
    if "Reject" in table.columns:  # why it is to be rejected
        table = flagged(table, "rejected", table.columns["Reject"].mask(lambda v: lower_text(v) != ""))
    counts = RowStatus(table, _roles(table, columns, given), []).reasons() == None  # noqa: E711
    written = spread(table)
    table = merged(written, "Answer.", request.questions, counts)
    names = _prefixed(table, "Answer.", request.questions)
    unread = _not_about_items(table, names, "Answer.", request)
    boxes = [n for n in names if f"{n}.{BOX}" in written.columns and same_everywhere(table, n, counts)]
    if request.questions is None and len(boxes) < len(
        names
    ):  # a box of consent is no rating beside other questions
        unread |= {n.removeprefix("Answer."): "the same everywhere" for n in boxes}
        names = {n: q for n, q in names.items() if n not in boxes}
    return _read(
        _with_choices(table, names, "|"),
        names,
        _Platform("MTurk batch", columns, "Input."),
        given,
        request,
        unread,
    )


def _toloka(table: Table, given: dict[str, str | None], request: Request) -> Answers:
    inputs = [n for n in table.columns if n.startswith("INPUT:")]
    columns = {
        "item": "ASSIGNMENT:task_id", "rater": "ASSIGNMENT:worker_id", "status": "ASSIGNMENT:status",
    }  # fmt: skip
    names = _prefixed(table, "OUTPUT:", request.questions)
    unread = _not_about_items(table, names, "OUTPUT:", request)
    if "ACCEPT:verdict" in table.columns:
        table = flagged(
            table, "rejected", table.columns["ACCEPT:verdict"].mask(lambda v: lower_text(v) == "-")
        )
    if "ASSIGNMENT:assignment_id" in table.columns:
        task = [columns["item"]] if columns["item"] in table.columns else inputs
        refuse_copies(table, ["ASSIGNMENT:assignment_id", *task], request.repeats)
    if columns["item"] not in table.columns and "item" not in given and not _sides(table, "INPUT:"):
        if len(inputs) != 1:
            what = " or ".join(map(repr, inputs)) or "the item"
            raise InputError(
                f"{table.name}: no column 'ASSIGNMENT:task_id': say whether {what} is the item with "
                f"{table.call(columns={'item': (inputs or ['...'])[0]})}"
            )
        columns["item"] = inputs[0]
    return _read(table, names, _Platform("Toloka TSV", columns, "INPUT:", "GOLDEN:"), given, request, unread)


@dataclass(frozen=True)
class _Platform:
    """What a format is called, its columns by role, and what the names of columns of inputs and truths begin with."""

    name: str
    columns: dict[str, str]
    inputs: str
    truths: str | None = None


def _read(
    table: Table, names: dict[str, str], platform: _Platform, given: dict[str, str | None], request: Request,
    unread: dict[str, str],
) -> Answers:  # fmt: skip
    """Answers of a table whose columns of answers are ``names``; comparisons where these say left or right."""
    asked = None if request.questions is None else list(names.values())
    if len(names) == 1 and request.questions is None:
        names = dict.fromkeys(names, "")
    found = _comparisons(table, names, platform, given, request)
    if found is None:
        gold = {
            column: truth
            for column in names
            if platform.truths and (truth := platform.truths + column.partition(":")[2]) in table.columns
        }
        found = read_long(
            table, _roles(table, platform.columns, given), names, form=platform.name, gold_of=gold
        )
        found.asked = asked
    found.unread |= {name: f"{why}; ask for it with question={name!r}" for name, why in unread.items()}
    return found


def _sides(table: Table, prefix: str) -> dict[str, str]:
    """The two columns of inputs that are called like the sides of a comparison; {} where there are none."""
    sides = {
        role: next(
            (n for n in table.columns if n.startswith(prefix) and is_called(n.removeprefix(prefix), role)), ""
        )
        for role in ("first", "second")
    }
    return sides if all(sides.values()) else {}


def _comparisons(
    table: Table, names: dict[str, str], platform: _Platform, given: dict[str, str | None], request: Request
) -> Answers | None:
    """Comparisons of two inputs, where all answers to the one question are words for a side; else None."""
    sides = _sides(table, platform.inputs)
    if len(names) != 1 or not sides or given.get("item") is not None:
        return None
    winner = next(iter(names))
    words = {plain(str(v)) for v in table.columns[winner].used().values if cell_value(v) is not None}
    if not words or not words <= pairwise.FIRST | pairwise.SECOND | pairwise.TIES:
        return None
    there = {role: n for role, n in platform.columns.items() if n in table.columns and role != "item"}
    roles = {**dict.fromkeys(("feature", "milliseconds", "seconds", "status")), **there, **given, **sides}
    found = pairwise.read(table, {**roles, "winner": winner}, request.labels)
    found.asked = [""]
    return found


def _not_about_items(table: Table, names: dict[str, str], prefix: str, request: Request) -> dict[str, str]:
    """Take questions about the person or the time out of ``names``, unless asked for; returns them, and why.

    Raises:
        ValueError: no other is left.
    """
    if request.questions is not None:
        return {}
    gone = {n: n.removeprefix(prefix) for n in names if is_about_a_person(n.removeprefix(prefix))}
    if gone and len(gone) == len(names):
        raise InputError(
            f"{table.name}: {', '.join(map(repr, gone))} may be about the person or the time, and there is no other "
            f"answer. If it is a rating: {table.call(question=next(iter(gone.values())))}"
        )
    for name in gone:
        del names[name]
    return dict.fromkeys(gone.values(), "about the person or the time")


def _appen(table: Table, given: dict[str, str | None], request: Request) -> Answers:
    questions = request.questions
    refuse_copies(table, ["_id"], request.repeats)
    columns = {"item": "_unit_id", "rater": "_worker_id"}
    roles = _roles(table, columns, given)
    units = table.columns[roles.columns["item"]]
    gold = {n.removesuffix("_gold"): n for n in table.columns if n.endswith("_gold") and n != "_gold"}
    own = [
        n
        for n in table.columns
        if not n.startswith("_") and n not in gold.values() and n not in given.values()
    ]
    own = [n for n in own if not n.endswith("_gold_reason") and n != "orig__golden"]
    asked = questions is not None
    if questions is None:
        questions = [n for n in own if n in gold] or (own if len(own) == 1 else [])
    if not questions:
        varies = [n for n in own if _varies_within(table.columns[n], units)]
        raise InputError(
            f"{table.name}: which columns are answers and which are the units' data? "
            f"{', '.join(map(repr, own)) or 'none'} could be"
            f"{f', and {varies[0]!r} varies within a unit' if varies else ''}. Say which with "
            f"{table.call(question=(varies or own or ['...'])[0])}"
        )
    missing = [q for q in questions if q not in table.columns]
    if missing:
        raise InputError(f"{table.name}: no column {missing[0]!r}; there are {table.listed()}")
    names = {q: q for q in questions} if asked or len(questions) > 1 else {questions[0]: ""}
    found = {q: gold[q] for q in questions if q in gold}
    table = _with_choices(_without_tainted(table), [*questions, *found.values()], "\n")
    return read_long(table, roles, names, form="Appen report", gold_of=found)


def _with_choices(table: Table, names: Iterable[str], separator: str) -> Table:
    """The table with lists in columns of which a cell holds several choices."""
    return replace(
        table, columns={**table.columns, **{n: ticked(table.columns[n], separator) for n in names}}
    )


def _without_tainted(table: Table) -> Table:
    """The table with untrusted judgements flagged as rejected."""
    if "_tainted" not in table.columns:
        return table
    return flagged(table, "rejected", table.columns["_tainted"].mask(lambda v: lower_text(v) in TRUE))


def flagged(table: Table, name: str, rows: np.ndarray) -> Table:
    """The table with a column that sets rows apart."""
    flags = Column(rows.astype(np.int64), ["false", "true"])
    return replace(table, columns={**table.columns, name: flags})


def _prefixed(table: Table, prefix: str, questions: list[str] | None) -> dict[str, str]:
    """Column -> question of the answers, whose columns begin with a prefix."""
    found = {n: n.removeprefix(prefix) for n in table.columns if n.startswith(prefix)}
    wanted = [q.removeprefix(prefix) for q in questions or []]
    absent = [q for q in wanted if q not in found.values()]
    if absent or not found:
        what = f"{prefix}{absent[0]}" if absent else f"{prefix}*"
        raise InputError(f"{table.name}: no column {what!r}; there are {table.listed()}")
    return {c: question for c, question in found.items() if questions is None or question in wanted}


def _roles(table: Table, columns: dict[str, str], given: dict[str, str | None]) -> Roles:
    """Roles as the platform names them and as given, and no other."""
    there = {role: column for role, column in columns.items() if column in table.columns}
    for role in ("item", "rater"):
        if role not in there and role not in given:
            raise InputError(f"{table.name}: no column {columns[role]!r}; there are {table.listed()}")
    return Roles(table, {**dict.fromkeys(r for r in NAMES if r not in PAIR_ROLES), **there, **given})


def _varies_within(column: Column, units: Column) -> bool:
    """Whether some unit has two values: then they are no data of the unit."""
    pairs = np.unique(units.codes * (int(column.codes.max(initial=0)) + 1) + column.codes)
    return pairs.size > np.unique(units.codes).size


def is_about_the_form(name: str) -> bool:
    return plain(name) in FORM_COLUMNS


def is_qualtrics(table: Table) -> bool:
    """Whether the second row after the names is Qualtrics' row of import ids."""
    return any(
        IMPORT_ID.match(str(column[r]))
        for column in table.columns.values()
        for r in range(min(3, len(column)))
    )


def is_form(table: Table) -> bool:
    """Whether Google Forms or Qualtrics wrote the columns: a time first, or several that Qualtrics adds; no item."""
    names = [plain(n) for n in table.columns]
    if {"timestamp", "email_address"} <= set(names):  # Google's own, whatever people named their questions
        return True
    if any(is_called(n, "item") for n in table.columns) or len(names) < 3:
        return False
    return (
        names[0] in TIMES or len({"start_date", "end_date", "recorded_date", "response_id"} & set(names)) > 2
    )


def without_header_rows(table: Table) -> Table:
    """A table without the rows of question texts and import ids that Qualtrics writes under the names."""
    rows = [
        r
        for r in range(min(3, table.size))
        if any(IMPORT_ID.match(str(c[r])) for c in table.columns.values())
    ]
    if not rows:
        return table
    return table.take(np.arange(rows[0] + 1, table.size))


def without_tests(table: Table) -> Table:
    """A Qualtrics table with previews, tests and spam flagged, and responses that nobody sent."""
    named = {plain(n): table.columns[n] for n in table.columns}
    status, finished = named.get("status"), named.get("finished")
    if "response_id" not in named:
        return table
    if status is not None:
        table = flagged(table, "discarded", status.mask(lambda v: lower_text(v) in NOT_MEANT))
    if finished is not None:
        table = flagged(table, "draft", finished.mask(lambda v: lower_text(v) in ("0", "false", "no")))
    return table


def respondent_roles(table: Table, given: dict[str, str | None]) -> Roles:
    none = dict.fromkeys(r for r in NAMES if r not in PAIR_ROLES)
    named = {plain(n): n for n in reversed(table.columns)}
    rater = next((named[n] for n in RESPONDENT if n in named), None)
    roles = Roles(table, {**none, "rater": rater, **given})
    if "status" not in given:  # Qualtrics' is another; whether failed checks count has to be said
        del roles.given["status"]
    return roles


def refuse_respondents(table: Table) -> None:
    """Refuse a form that was not said to be one."""
    table = without_header_rows(table)
    own = [n for n in table.columns if not is_about_the_form(n) and plain(n) not in RESPONDENT]
    begins = [n for n in own if all(re.match(r"\s*(\d|$)", str(v)) for v in table.columns[n].values)]
    items, scores = ([n for n in own if is_called(n, role)] for role in ("item", "score"))
    each = ""
    if items and scores:
        each = f"; where a row is a rating: {table.call(columns={'item': items[0], 'score': scores[0]})}"
    raise InputError(
        f"{table.name}: a form with one row a respondent. Say which columns are what people rated with "
        f"{table.call(format='respondents', question=numeric(table, own) or begins or own)}{each}"
    )
