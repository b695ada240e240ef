"""Ratings inside records: a list of objects, lists side by side, or a map; unfolded into a row for each rating."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hitl_fast._common.errors import InputError

from .advice import call
from .answers import expect
from .record_keys import is_list_of, is_whole, keys_of, listed, outer, who_inside
from .request import Request
from .text import Record
from .vocabulary import INNER, NAMES, OWN, is_called, plain

MAP_ROLES = ("item", "rater", "feature")  # what the keys of a map may be
BESIDE = (
    "seconds",
    "milliseconds",
    "feature",
    "status",
)  # lists that may stand beside those of raters and scores
INSIDE = "Inside the records "


@dataclass
class Unfolded:
    """Rows, columns that are keys of a map of ratings, and the request with what was found out."""

    rows: list[Record]
    request: Request
    mapped: frozenset[str] = frozenset()
    map_name: str = ""


class Records:
    """JSON objects of a file, and what they hold.

    Raises:
        ValueError: a record is no object; names the line.
    """

    def __init__(self, records: list[Record], name: str, request: Request, in_memory: bool = False) -> None:
        for line, record in records:
            what = "row" if in_memory else "line"
            expect(isinstance(record, dict), f"{name}, {what} {line}", "a JSON object", record)
        self.records, self.name, self.request, self.in_memory = records, name, request, in_memory
        self.keys = keys_of([r.value for r in records])
        self.told = {str(c) for c in request.roles.values() if c is not None}
        self.told |= {*(request.raters or ()), *(request.questions or ())}

    def unfolded(self) -> Unfolded:
        """A row for each rating.

        Raises:
            ValueError: ratings are under several keys, or lists differ in length; the message names keys and the call.
        """
        for role in MAP_ROLES:
            key = self.request.roles.get(role)
            if key in self.keys.maps:
                return self._of_map(str(key), role)
        lists = self._parallel()
        if lists:
            return self._of_lists(lists)
        key = self._list_of_objects()
        if key is not None:
            return self._of_objects(key)
        key = self._map()
        if key is not None:
            inside = self.keys.maps[key]
            rows = [
                Record(line, {**outer(r), **(r.get(key) or {}), **self._ids(r)}) for line, r in self.records
            ]
            ids = {k for _, r in self.records for k in self._ids(r)}
            return Unfolded(rows, self.request, frozenset(inside) - ids, key)
        return Unfolded(self._flat(), self.request)

    def _flat(self) -> list[Record]:
        """The records without objects that nothing names: they are no ids, labels or numbers."""
        nested = [*self.keys.maps, *self.keys.objects]
        gone = {k for k in nested if k not in self.told and not any(is_called(k, role) for role in NAMES)}
        if not gone:
            return self.records
        return [Record(line, {k: v for k, v in r.items() if k not in gone}) for line, r in self.records]

    def hint(self) -> str:
        """How to read what is nested and was not read; "" where nothing is, or the records name rater and score."""
        ways: list[str] = []
        if self._is_long():
            return ""
        for key, inside in self.keys.objects.items():
            own = [k for k in inside if plain(k) not in OWN] or inside
            score = next((k for k in own if is_called(k, "score")), own[-1])
            free = [k for k in inside if k != score and not is_called(k, "item")]
            rater = next((k for k in free if is_called(k, "rater")), (free or inside)[0])
            columns = {"rater": rater, "score": score}
            ways.append(f"the list {key!r} has objects with {listed(inside)}: {self._call(columns=columns)}")
        for key, inside in self.keys.maps.items():
            role = "feature" if any(is_called(k, "rater") for k in self.keys.scalars) else "rater"
            ways.append(
                f"the map {key!r} has the keys {listed(inside)}: {self._call(columns={role: key})} where each is a "
                f"{'question' if role == 'feature' else role}"
            )
        pair = self._alike()
        if pair is not None:
            columns = dict(zip(("rater", "score"), pair, strict=True))
            ways.append(f"the lists {listed(pair)} may say who rated, and how: {self._call(columns=columns)}")
        elif self.keys.lists:
            ways.append(
                f"nothing says whose the entries of {listed(self.keys.lists)} are: write a row for each"
            )
        return INSIDE + "; ".join(ways) if ways else ""

    def _alike(self) -> tuple[str, str] | None:
        """Two lists that are as long as each other in every record, of names and, where possible, of numbers."""
        sizes = {k: tuple(len(r.get(k) or ()) for _, r in self.records) for k in self.keys.lists}
        cells = {k: [v for _, r in self.records for v in r.get(k) or ()] for k in self.keys.lists}
        words = [k for k in sizes if all(isinstance(v, str) for v in cells[k])]
        for first in [*words, *sizes]:
            others = [k for k in sizes if k != first and sizes[k] == sizes[first]]
            if others:
                return first, next((k for k in others if k not in words), others[0])
        return None

    def _call(self, **arguments: Any) -> str:
        return call(self.name, self.request.told, self.in_memory, **arguments)

    def _ids(self, record: dict[str, Any]) -> dict[str, Any]:
        """What names the item outside."""
        item = self.request.roles.get("item")
        return {
            k: v for k, v in outer(record).items() if v is not None and (k == item or is_called(k, "item"))
        }

    def _of_map(self, key: str, role: str) -> Unfolded:
        """A row for each key of a map that is a rater, an item or a question."""
        value = f"value in {key}"
        cells = [cell for _, r in self.records for cell in (r.get(key) or {}).values()]
        inside = list(dict.fromkeys(k for cell in cells if isinstance(cell, dict) for k in cell))
        rows = []
        for line, record in self.records:
            entries = record.get(key) or {}
            beside = self._beside(record, inside, len(entries))
            for name, cell in entries.items():
                inner = cell if isinstance(cell, dict) else {value: cell}
                rows.append(Record(line, {**beside, **inner, key: name}))
        plain_values = key not in self.keys.deep and "score" not in self.request.columns
        more: dict[str, str | int | None] = (
            {"score": value} if plain_values and not self.request.questions else {}
        )
        given = replace(self.request, item=None, columns={**self.request.roles, **more})
        return Unfolded(rows, given)

    def _parallel(self) -> dict[str, str]:
        """Role -> key of lists side by side, of which one names the raters and others have the scores.

        Raises:
            ValueError: which lists they are cannot be told.
        """
        found: dict[str, str] = {}
        for role in ("rater", "score", *BESIDE):
            told = self.request.roles.get(role)
            if told is not None:
                if told in self.keys.lists:
                    found[role] = str(told)
                continue
            called = [k for k in self.keys.lists if is_list_of(k, role) and k not in found.values()]
            if role == "score" and not found.get("rater"):
                return {}
            if role == "score" and self.request.questions:
                found |= {k: k for k in self.request.questions if k in self.keys.lists}
                return found if len(found) > 1 else {}
            if not called and role == "score":
                self._refuse_score_list(found["rater"])
                return {}
            if len(called) > 1 and role in ("rater", "score"):
                raise InputError(
                    f"{self._where(0)}: the lists {listed(called)} may each be of the {role}s: say which with "
                    f"{self._call(columns={role: called[0]})}"
                )
            if called:
                found[role] = called[0]
        return found if {"rater", "score"} <= found.keys() else {}

    def _refuse_score_list(self, raters: str) -> None:
        """Refuse a list of raters beside lists as long as it, of which none is called like scores."""
        alike = [
            k
            for k in self.keys.lists
            if k != raters and all(len(r.get(k) or []) == len(r.get(raters) or []) for _, r in self.records)
        ]
        if alike:
            raise InputError(
                f"{self._where(0)}: the list {raters!r} may name the raters, and {listed(alike)} may hold their "
                f"scores: {self._call(columns={'rater': raters, 'score': alike[0]})}"
            )

    def _of_lists(self, lists: dict[str, str]) -> Unfolded:
        rows = []
        for number, (line, record) in enumerate(self.records):
            cells = {k: record.get(k) or [] for k in lists.values()}
            raters = cells[lists["rater"]]
            for key, values in cells.items():
                if len(values) != len(raters):
                    raise InputError(
                        f"{self._where(number)}: {len(raters)} entries in {lists['rater']!r} and {len(values)} in "
                        f"{key!r}: each rater needs one"
                    )
            rows += [
                Record(line, {**outer(record), **dict(zip(cells, row, strict=True))})
                for row in zip(*cells.values(), strict=True)
            ]
            rows += [] if raters else [Record(line, {**outer(record), **dict.fromkeys(cells)})]
        more: dict[str, str | int | None] = {r: k for r, k in lists.items() if r in ("rater", "score")}
        return Unfolded(rows, replace(self.request, columns={**self.request.columns, **more}))

    def _list_of_objects(self) -> str | None:
        """The key of a list of ratings: told by a name inside, with a rater and a score in each, or called like one."""
        objects = self.keys.objects
        outside = {*self.keys.scalars, *self.keys.lists, *self.keys.maps}
        told = [k for k, inside in objects.items() if not (self.told & set(inside)) <= outside]
        by_rater = any(is_called(k, "rater") for k in self.keys.scalars)
        whole = (
            [] if self._is_long() else [k for k, inside in objects.items() if is_whole(k, inside, by_rater)]
        )
        called = sorted((k for k in objects if plain(k) in INNER), key=lambda k: INNER.index(plain(k)))
        scored = [k for k in called if any(is_called(n, "score") for n in objects[k])]
        found = told or list(dict.fromkeys([*whole, *scored]))
        if len(found) > 1:
            raise InputError(
                f"{self._where(0)}: {listed(found)} are lists that may each hold the ratings: leave one of them in "
                "the file, or name columns=... that only one has"
            )
        return next(iter(found or called), None)

    def _is_long(self) -> bool:
        """Whether the records themselves name a rater and a score."""
        return all(any(is_called(k, role) for k in self.keys.scalars) for role in ("rater", "score"))

    def _of_objects(self, key: str) -> Unfolded:
        """A row for each object of a list, with what its record says outside."""
        by_rater = any(is_called(k, "rater") for k in self.keys.scalars)
        inside = self.keys.objects[key]
        request, renamed = self.request, None
        if is_list_of(key, "rater") and "rater" not in request.columns:
            renamed = who_inside(inside)
            if renamed is not None:
                request = replace(request, columns={**request.columns, "rater": f"{key}.{renamed}"})
        rows = []
        for number, (line, record) in enumerate(self.records):
            ids, found = self._ids(record), 0
            entries = record.get(key) or []
            beside = self._beside(record, inside, len(entries))
            self._refuse_own_items(number, key, ids)
            for row in entries:
                of_item = ids and (not by_rater or any(is_called(k, "rater") for k in row))
                own = {k for k in row if k in ids or plain(k) in OWN} - self.told if of_item else set()
                more = {f"{key}.{renamed}": row.get(renamed)} if renamed else {}
                cells = {k: v for k, v in row.items() if k not in own and k != renamed}
                rows.append(Record(line, {**beside, **cells, **more}))
                found += 1
            rows += [] if found else [Record(line, outer(record))]
        return Unfolded(rows, request)

    def _beside(self, record: dict[str, Any], inside: list[str], entries: int) -> dict[str, Any]:
        """What a record says of each of its ratings: nothing that ratings say themselves, nor the time of several."""
        kept = {
            k: v
            for k, v in outer(record).items()
            if entries < 2 or not (is_called(k, "seconds") or is_called(k, "milliseconds"))
        }
        ids = self._ids(record)
        return kept | {k: None for k in inside if k in kept and k not in ids and not is_called(k, "status")}

    def _refuse_own_items(self, number: int, key: str, ids: dict[str, Any]) -> None:
        """Refuse ratings that name items of their own by the key that names their record's."""
        entries = self.records[number].value.get(key) or []
        for name in ids:
            own = {repr(row[name]) for row in entries if row.get(name) is not None}
            if plain(name) not in OWN and name not in self.told and len(own) > 1:
                raise InputError(
                    f"{self._where(number)}: {name!r} names the record and, inside {key!r}, {listed(sorted(own))}: "
                    "rename one of the two keys, and say which is the item with columns={'item': ...}"
                )

    def _map(self) -> str | None:
        """The key of a map of ratings: called like one, or of which a key was told.

        Raises:
            ValueError: its values are objects, and nothing says what its keys are.
        """
        maps = self.keys.maps
        told = [
            k for k, inside in maps.items() if not self.told.isdisjoint(set(inside) - {*self.keys.scalars})
        ]
        called = sorted((k for k in maps if plain(k) in INNER), key=lambda k: INNER.index(plain(k)))
        key = next(iter(told or called), None)
        if len(told or called) > 1:
            raise InputError(
                f"{self._where(0)}: {listed(told or called)} are maps that may each hold the ratings: say which with "
                f"{self._call(columns={'rater': key})}, and read the others alike"
            )
        if key is not None and key in self.keys.deep:
            ways = "; ".join(f"{_WHAT[r]}: {self._call(columns={r: key})}" for r in MAP_ROLES)
            raise InputError(
                f"{self._where(0)}: the map {key!r} has the keys {listed(maps[key])}, each with an object. Say what "
                f"the keys are; {ways}"
            )
        return key

    def _where(self, number: int) -> str:
        return f"{self.name}, {'row' if self.in_memory else 'line'} {self.records[number].line}"


_WHAT = {"item": "items", "rater": "raters", "feature": "questions"}
