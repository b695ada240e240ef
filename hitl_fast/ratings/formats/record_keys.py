"""What keys of JSON records hold: single values, lists, lists of objects or maps; and what they are called like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .vocabulary import INNER, NAMES, is_called, is_plumbing, plain

SHOWN = 4
WHO = ("id", "name", "uid", "uuid")  # of a rater, in a list of raters


@dataclass
class Keys:
    """Keys of records by what they hold, and for objects and maps the keys inside."""

    scalars: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    objects: dict[str, list[str]] = field(default_factory=dict)
    maps: dict[str, list[str]] = field(default_factory=dict)
    deep: set[str] = field(default_factory=set)  # maps whose values are objects


def keys_of(records: list[dict[str, Any]]) -> Keys:
    found = Keys()
    values: dict[str, list[Any]] = {}
    scalars: dict[str, None] = {}
    for record in records:
        for key, value in record.items():
            held = values.setdefault(str(key), [])
            if isinstance(value, dict | list):
                held.append(value)
            elif value is not None:
                scalars[str(key)] = None
    for key, held in values.items():
        filled = [v for v in held if v]
        if not filled or key in scalars:  # a list in one record and a number in another is read as neither
            found.scalars.append(key)
        elif all(isinstance(v, dict) for v in filled):
            found.maps[key] = _inside(filled)
            if any(isinstance(cell, dict) for v in filled for cell in v.values()):
                found.deep.add(key)
        elif all(isinstance(v, list) and all(isinstance(o, dict) for o in v) for v in filled):
            found.objects[key] = _inside([o for v in filled for o in v])
        elif not any(isinstance(v, dict) or any(isinstance(o, dict | list) for o in v) for v in filled):
            found.lists.append(key)
    return found


def _inside(objects: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(k) for o in objects for k in o))


def outer(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if not isinstance(v, dict | list)}


def is_list_of(key: str, role: str) -> bool:
    """Whether a key is called like a role, or several of it: annotators, worker_ids; of scores also annotations."""
    bare = plain(key)
    names = [key, bare.removesuffix("s"), bare.removesuffix("es")]
    return any(is_called(n, role) for n in names) or (role == "score" and bare in INNER)


def is_whole(key: str, inside: list[str], by_rater: bool) -> bool:
    """Whether objects are ratings by their names: a score and whose it is, or of which item; no place in a text."""
    who = any(is_called(k, "rater") for k in inside) or is_list_of(key, "rater")
    what = by_rater and any(is_called(k, "item") for k in inside)
    placed = any(plain(k) in ("start", "end", "start_offset", "begin") for k in inside)
    return (who or what) and not placed and any(is_called(k, "score") for k in inside)


def who_inside(inside: list[str]) -> str | None:
    """The key of an object in a list of raters that says who it is, where no other may."""
    roles = [role for role in NAMES if role != "item"]
    unknown = [k for k in inside if not any(is_called(k, role) for role in roles) and not is_plumbing(k)]
    rater = any(is_called(k, "rater") for k in inside)
    return unknown[0] if not rater and len(unknown) == 1 and plain(unknown[0]) in WHO else None


def listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(map(repr, shown[:SHOWN])) + (
        f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    )
