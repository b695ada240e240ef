"""Which column of a table is the item, the rater, the score: as told, else by names that leave no choice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError

from .answers import SET_APART, SUBMITTED
from .cells import all_numbers, all_words, cell_value, lower_text, some_numbers
from .column import Column
from .table import Table
from .vocabulary import (
    COUNTERS,
    EXPLICIT,
    NAMES,
    OWN,
    PAIR_ROLES,
    WEAK_SCORES,
    describes,
    is_called,
    is_index,
    is_plumbing,
    plain,
)

PROSE_WORDS, PROSE_LENGTH = 6, 60  # text beyond either is no label
BY_POSITION = (
    "If the first line is no header, give columns by position, from 0: columns={'rater': 0, 'item': 1, 'score': 2} "
    "(--columns rater=0 item=1 score=2)"
)
# What people rate, where no column is called an item's id.
WHAT = {
    "text", "url", "path", "image_url", "image_path", "img", "img_url", "picture", "photo", "video_url",
    "audio_url", "link", "sentence", "sentences", "comment", "comments", "tweet", "post", "prompt", "passage",
    "content", "title", "name", "input", "input_text", "source_text", "summary", "paragraph", "utterance",
    "product", "movie", "word", "term", "query", "response", "output", "file_path", "file_name",
}  # fmt: skip
GOLD_WORDS = {"gold", "ground_truth", "ground truth", "prediction", "predicted", "model"}


def check_columns(columns: Mapping[str, str | int | None], table: Table) -> dict[str, str | None]:
    """Roles as given, each with a column that is there; a role of None has no column.

    Raises:
        ValueError: no such role or column.
    """
    given: dict[str, str | None] = {}
    for role, column in columns.items():
        if role not in NAMES:
            raise InputError(f"columns: no role {role!r}; there are {', '.join(NAMES)}")
        if column is not None and not isinstance(column, str | int):
            raise InputTypeError(
                f"columns[{role!r}] must be the name or position of a column, not {column!r}"
            )
        if column is not None and str(column) not in table.columns:
            raise InputError(f"{table.name}: no column {column!r}; there are {table.listed()}")
        given[role] = None if column is None else str(column)
    return given


class Roles:
    """Columns by role. Where several columns could have a role and differ, the call that decides is advised."""

    def __init__(self, table: Table, given: Mapping[str, str | None], names: list[str] | None = None) -> None:
        self.table, self.given = table, dict(given)
        self.columns = {role: column for role, column in given.items() if column is not None}
        self.unused: dict[str, str] = {}  # columns that were passed over, and why
        free = [n for n in (names or table.columns) if n not in self.columns.values()]
        for role in NAMES:
            if role in given or role in PAIR_ROLES:
                continue
            chosen = self._one_of(role, self._called(role, free))
            if chosen is not None:
                self.columns[role] = chosen
        self._question_as_item()

    def __contains__(self, role: str) -> bool:
        return role in self.columns

    def get(self, role: str) -> str | None:
        return self.columns.get(role)

    def column(self, role: str) -> Column | None:
        return self.table.columns[self.columns[role]] if role in self.columns else None

    def others(self) -> list[str]:
        """Columns without a role that may hold something."""
        taken = {*self.columns.values(), *self.unused}
        return [n for n in self.table.columns if n not in taken and not is_plumbing(n)]

    def own_status(self) -> str | None:
        """The column of statuses by its name, whatever was told of them."""
        found = self._called("status", [n for n in self.table.columns if n != self.get("status")])
        known = {*SET_APART, *GOLD_WORDS}
        return next(
            (n for n in found if not known.isdisjoint(map(lower_text, self.table.columns[n].values))), None
        )

    def _called(self, role: str, free: list[str]) -> list[str]:
        """Columns without a role that are called like one, in the order of `NAMES`."""
        taken = set(self.columns.values())
        rank = {name: k for k, name in enumerate(NAMES[role])}
        called = [n for n in free if n not in taken and plain(n) in rank]
        return sorted(called, key=lambda n: rank[plain(n)])

    def _one_of(self, role: str, found: list[str]) -> str | None:
        if role == "status":
            found = [n for n in found if plain(n) != "state" or self._are_statuses(n)]
        if role == "item" and len(found) > 1:
            found = self._without_counters(found)
        if not found or role not in ("item", "rater", "score"):
            return found[0] if found else None
        if role == "score":
            return self._one_score(found)
        explicit = [n for n in found if plain(n) in EXPLICIT[role]]
        rivals = [n for n in explicit or found if not self._alike(n, (explicit or found)[0])]
        if rivals:
            choices = [(explicit or found)[0], *rivals]
            raise InputError(
                f"{self.table.name}: {', '.join(map(repr, choices))} may each be the {role}, and they differ: say "
                f"which with {self.table.call(columns={role: choices[0]})}"
            )
        return (explicit or found)[0]

    def _one_score(self, found: list[str]) -> str | None:
        """The one column called like a score; beside it may be prose, such as prompts and responses."""
        labels = [n for n in found if not is_prose(self.table.columns[n])]
        if len(labels) > 1:
            raise InputError(
                f"{self.table.name}: {', '.join(map(repr, labels))} may each be the score: say which with "
                f"{self.table.call(columns={'score': labels[0]})}"
            )
        chosen = labels[0] if labels else None
        if not labels and len(found) == 1:  # one column of long texts: levels of a scale, or free text
            column = self.table.columns[found[0]]
            free = plain(found[0]) in WEAK_SCORES and len(column.values) > len(column) / 2
            chosen = None if free else found[0]
        self.unused |= {n: "text" for n in found if n != chosen}
        return chosen

    def _without_counters(self, found: list[str]) -> list[str]:
        """Candidates without a saved index: a column called so that counts the rows."""
        kept = []
        for name in found:
            counts = plain(name) in COUNTERS and counts_rows(self.table.columns[name])
            if counts:
                self.unused[name] = "counts the rows"
            else:
                kept.append(name)
        if not kept:
            self.unused.pop(found[0], None)
        return kept or found[:1]

    def _alike(self, name: str, other: str) -> bool:
        """Whether two columns name the same things: each value of one goes with one value of the other."""
        a, b = self.table.columns[name].codes, self.table.columns[other].codes
        pairs = np.unique(a * (int(b.max(initial=0)) + 1) + b).size
        return pairs == np.unique(a).size == np.unique(b).size

    def _are_statuses(self, name: str) -> bool:
        texts = {lower_text(v) for v in self.table.columns[name].values}
        return texts <= {*SUBMITTED, *SET_APART, *GOLD_WORDS}

    def _question_as_item(self) -> None:
        """A question is the item where there is no other, and no feature where each item has one of its own."""
        question = self.columns.get("feature")
        if question is None or "feature" in self.given or plain(question) != "question":
            return
        if "item" not in self.columns:
            if "item" not in self.given:
                self.columns["item"] = self.columns.pop("feature")
            return
        item = self.columns["item"]
        if self._alike(question, item) and np.unique(self.table.columns[item].codes).size > 1:
            del self.columns["feature"]
            self.unused[question] = f"one for each {item!r}: its text"


def is_prose(column: Column) -> bool:
    """Whether a column holds text rather than labels."""
    texts = [v for v in column.values if isinstance(v, str)]
    return any(len(t) > PROSE_LENGTH or len(t.split()) > PROSE_WORDS for t in texts)


def counts_rows(column: Column) -> bool:
    """Whether cells are 0, 1, 2 ... or 1, 2, 3 ..., as a saved index is."""
    if len(column.values) != len(column):
        return False
    try:
        numbers = np.array([int(v) for v in column.cells()])
    except (TypeError, ValueError, OverflowError):
        return False
    return bool(numbers[0] in (0, 1) and (np.diff(numbers) == 1).all())


def may_be_scores(table: Table, names: list[str]) -> list[str]:
    """Columns that could hold the answers: those of numbers, and of short words."""
    filled = [n for n in names if any(cell_value(v) is not None for v in table.columns[n].values)]
    return [n for n in filled if some_numbers(table.columns[n]) or not is_prose(table.columns[n])]


def refuse_doubtful_score(table: Table, roles: Roles) -> None:
    """Refuse a score that only its name tells, and a weak one, where another column could be the score."""
    score = roles.columns["score"]
    if "score" in roles.given or plain(score) not in WEAK_SCORES:
        return
    rivals = [n for n in may_be_scores(table, roles.others()) if not describes(n)]
    if rivals:
        raise InputError(
            f"{table.name}, line 1: which column is the score, {score!r} or {', '.join(map(repr, rivals))}? Say which "
            f"with {table.call(columns={'score': score})}"
        )


def refuse_numbered_rows(table: Table, roles: Roles) -> None:
    """Refuse an item that may number the rows: another id in each, beside a column of what several people rated."""
    item, rater = roles.get("item"), roles.column("rater")
    if item is None or rater is None or "item" in roles.given or plain(item) not in OWN:
        return
    if table.size < 2 or np.unique(table.columns[item].codes).size < table.size:
        return
    score = roles.get("score")
    for name in table.columns:
        column = table.columns[name]
        if name in (item, roles.get("rater"), score) or all_numbers(column) or plain(name) not in WHAT:
            continue
        pairs = np.unique(column.codes * (int(rater.codes.max(initial=0)) + 1) + rater.codes).size
        if np.unique(column.codes).size < table.size == pairs:
            raise InputError(
                f"{table.name}, line 1: {item!r} is another in each row, and {name!r} is the same in several people's: "
                f"which is the item? {table.call(columns={'item': name})}, or {table.call(columns={'item': item})}"
            )


def refuse_without_score(table: Table, roles: Roles) -> None:
    """Refuse a long table of which no column is called like a score."""
    candidates = may_be_scores(table, roles.others())
    if not candidates:
        raise InputError(
            f"{table.name}, line 1: no column is left for the score in the columns {table.listed()}: name it with "
            "columns={'score': ...} (--score)"
        )
    likely = [n for n in candidates if not describes(n)] or candidates
    raise InputError(
        f"{table.name}, line 1: which column is the score? {', '.join(map(repr, candidates))} could be. Say which with "
        f"{table.call(columns={'score': likely[0]})}, or name several with question=[...] (--question)"
    )


def refuse_without_rater(table: Table, roles: Roles) -> None:
    """Refuse a table that may be long or wide, with the call of either reading."""
    numbers = [n for n in roles.others() if some_numbers(table.columns[n])]
    likely = [n for n in numbers if not describes(n)]
    words = [n for n in roles.others() if n not in numbers and not is_prose(table.columns[n])]
    ways = []
    if likely:
        wide = " (format='wide': every column that is left)" if len(likely) > 1 else ""
        ways.append(f"columns that are a rater each{wide}: {table.call(raters=likely)}")
    if "score" in roles:
        ways.append(f"one person's answers in {roles.columns['score']!r}: {table.call(format='long')}")
    scores = [n for n in [*likely, *words[1:]] if n not in words[:1]]
    if words and ("score" in roles or scores):
        score = {} if "score" in roles else {"score": scores[0]}
        columns = {"rater": words[0], **score}
        ways.append(f"a column that names the rater: {table.call(columns=columns)}")
    raise InputError(
        f"{table.name}, line 1: no column says who the raters are in the columns {table.listed()}. Say what the "
        f"columns are; {'; '.join(ways) or 'columns= names them by role'}"
    )


def refuse_without_item(table: Table, roles: Roles) -> None:
    """Refuse a table of which no column is called like an item, with the call of what it may be."""
    if len(table.columns) == 1 and table.header:
        raise InputError(
            f"{table.name}, line 1: no ratings found in one column, {table.listed()}: commas, semicolons, tabs "
            f"or bars separate cells. {BY_POSITION}"
        )
    raters = table.told.get("raters") or []
    free = [n for n in table.columns if n not in roles.columns.values() and n not in raters]
    named = [n for n in free if not is_index(n) and not is_plumbing(n)] or free
    if not named:
        raise InputError(
            f"{table.name}: no column is left for the item: leave it out of raters=[...] (--raters)"
        )
    ways = [f"Say which it is with {table.call(columns={'item': named[0]})}"]
    sides = pair_of(table, free)
    if sides is not None and not raters:
        first, second, winner = sides
        columns = {"first": first, "second": second, "winner": winner}
        ways.insert(0, f"Where a row compares two: {table.call(format='pairwise', columns=columns)}")
    numbers = [n for n in numeric(table, named) if not describes(n)]
    if "score" not in roles and not raters and len(numbers) > 1:
        ways.append(
            f"where a row is a respondent: {table.call(format='respondents', question=numbers, **_rater(roles))}"
        )
    if table.header and not any(is_called(n, role) for n in table.columns for role in NAMES):
        ways.append(BY_POSITION[0].lower() + BY_POSITION[1:])
    item = roles.get("item")
    why = f"none is called like an item ({', '.join(NAMES['item'][:3])} ...). {'; '.join(ways)}"
    if item is not None:
        lists = _lists_in(table)
        why = f"{item!r} may be the item, and none is called like a rater or a score, or holds numbers{lists}"
    raise InputError(f"{table.name}, line 1: no ratings found in the columns {table.listed()}: {why}")


def _lists_in(table: Table) -> str:
    """What to do about cells that hold lists as text."""
    for name, column in table.columns.items():
        cell = next((v for v in column.values if isinstance(v, str) and v.strip()[:1] in ("[", "{")), None)
        if cell is not None:
            return (
                f"; column {name!r} holds lists or objects such as {cell[:40]!r}: write a row for each rating"
            )
    return ""


def _rater(roles: Roles) -> dict[str, dict[str, str]]:
    return {"columns": {"rater": roles.columns["rater"]}} if "rater" in roles else {}


def pair_of(table: Table, names: list[str]) -> tuple[str, str, str] | None:
    """Two columns of words that are called alike but for left and right or a and b, and another one."""
    words = {n: plain(n).split("_") for n in names if all_words(table.columns[n])}
    for one, other in (("left", "right"), ("a", "b"), ("1", "2"), ("first", "second")):
        for name, parts in words.items():
            stem = plain(name).removesuffix(one)
            sides = {"_".join(other if part == one else part for part in parts), stem + other} - {plain(name)}
            if stem == plain(name) and one not in parts:
                continue
            twin = next((n for n in words if plain(n) in sides), None)
            rest = [n for n in names if n not in (name, twin)]
            if twin is not None and rest:
                return name, twin, next((n for n in rest if is_called(n, "winner")), rest[-1])
    return None


def numeric(table: Table, names: list[str]) -> list[str]:
    """The columns in which every cell that holds something holds a number."""
    return [n for n in names if all_numbers(table.columns[n])]
