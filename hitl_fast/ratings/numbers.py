"""Numbers as people write them: "3,5", "1,234.5", "80%", "4 - good", "4/5", yes and no."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from hitl_fast._common.errors import InputError

from .formats.answers import as_float

THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")  # "1,000": it may be 1, with a decimal comma
NUMBER = rf"({THOUSANDS.pattern}\.\d+|[+-]?\d+(?:[.,]\d+)?|{THOUSANDS.pattern})(?![.,]?\d)\s*"
ALONE = re.compile(rf"\s*{NUMBER}%?\s*")
WORDS = r"(?:stars?|points?|pts?)\b|★"
# "4 - good", "4 stars", "80 %", "5 (best)": a label that begins with its number, and has no other.
LEADING_NUMBER = re.compile(rf"\s*{NUMBER}(?:$|[-–—:.)=%(]|{WORDS})\D*$", re.IGNORECASE)
OUT_OF = re.compile(  # "4/5", "4 of 5", "4 out of 5 stars"
    rf"\s*{NUMBER}(?:/|(?:out\s+)?of\b)\s*(\d+)\s*(?:{WORDS})?\s*", re.IGNORECASE
)
PER_CENT = re.compile(rf"\s*{NUMBER}%")
DRAWN_STARS = re.compile(r"\s*(?=[★⭐☆])((?:★|⭐\ufe0f?)*)☆*\s*")
MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
# What a spreadsheet makes of 4/5 and 4-5, and what columns of times hold.
DATE = re.compile(
    rf"\d{{1,2}}-{MONTH}(?:-\d{{2,4}})?|{MONTH}[a-z]*-\d{{1,4}}|\d{{4}}-\d{{1,2}}-\d{{1,2}}(?:[T ].*)?"
    r"|(\d{1,2})([./-])\d{1,2}\2\d{2,4}(?: .*)?|\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s*[ap]m)?",
    re.IGNORECASE,
)
BEGINS_AS_NUMBER = re.compile(r"\s*[-+]?\d")
YES = {
    "yes", "true", "accept", "accepted", "up", "thumbs up", "thumbs_up", "thumbsup", "thumb up", "👍", "good",
    "like", "important", "relevant", "correct", "useful", "+",
}  # fmt: skip
NO = {
    "no", "false", "reject", "rejected", "down", "thumbs down", "thumbs_down", "thumbsdown", "thumb down", "👎",
    "bad", "dislike", "not important", "unimportant", "irrelevant", "not relevant", "incorrect", "not useful",
    "useless", "-",
}  # fmt: skip


def number(value: Any) -> float:
    """A number, or text that is one. ValueError or TypeError where it is none."""
    if isinstance(value, str):
        alone = ALONE.fullmatch(value)
        if alone is None and "_" in value:
            raise ValueError  # which Python's float takes for a separator
        return _amount(alone.group(1)) if alone else float(value)
    if isinstance(value, int | float):
        return as_float(value)
    raise TypeError


def has_ambiguous_comma(value: Any) -> bool:
    """Whether text begins with a number whose comma may separate thousands or be a decimal comma."""
    leading = LEADING_NUMBER.match(value) if isinstance(value, str) else None
    return bool(leading and THOUSANDS.fullmatch(leading.group(1)))


def label_values(
    texts: list[str], labels: Mapping[str, float] | None, mixed: bool
) -> dict[str, float] | None:
    """What each label is worth: as the caller says, its number, or 1 and 0 for yes and no. None: no numbers.

    Among numbers (``mixed``) a yes or no is a stray answer.

    Raises:
        ValueError: ``labels`` leaves some out, or answers are of different units (out of 5 and out of 10, in per cent
            and plain).
    """
    if labels is not None and texts and all(t in labels for t in texts):
        return {t: float(labels[t]) for t in texts}
    values = _plain_values(texts, mixed)
    if values is not None and labels is not None and any(t in labels for t in texts):
        absent = next(t for t in texts if t not in labels)
        raise InputError(
            f"labels does not say what {absent!r} is worth; answers: {', '.join(map(repr, texts))}"
        )
    return values


def _plain_values(texts: list[str], mixed: bool) -> dict[str, float] | None:
    plain = {t: t.strip().lower() for t in texts}
    if texts and not mixed and set(plain.values()) <= YES | NO:
        return {t: float(p in YES) for t, p in plain.items()}
    if texts and not mixed and all(map(DRAWN_STARS.fullmatch, texts)):
        return {t: float(t.count("★") + t.count("⭐")) for t in texts}
    if any(DATE.fullmatch(t.strip()) for t in texts):
        return None
    leading = {t: OUT_OF.fullmatch(t) or LEADING_NUMBER.match(t) for t in texts}
    if all(leading.values()):
        _refuse_several_units(texts, mixed)
        # What may be either of two numbers is left out here, and refused with its line as an answer.
        sure = {t: m.group(1) for t, m in leading.items() if m and not THOUSANDS.fullmatch(m.group(1))}
        values = {t: _amount(digits) for t, digits in sure.items()}
        return values if len(set(values.values())) == len({_canonical(t) for t in values}) else None
    return None


def no_rating(texts: list[str]) -> str | None:
    """Why answers that are words are no labels: all are dates, or some are lists; None where all may be labels."""
    dates = [t for t in texts if DATE.fullmatch(t.strip())]
    if dates and all(BEGINS_AS_NUMBER.match(t) for t in texts if t not in dates):
        return (
            f"dates or times such as {dates[0]!r}, as spreadsheets make of 4/5 and 4-5; if they are labels, say what "
            f"each is worth with labels={{{dates[0]!r}: ...}} (--labels)"
        )
    several = next((t for t in texts if _is_several(t)), None)
    if several is None:
        return None
    return (
        f"lists or objects such as {several[:40]!r}; if they are labels, say what each is worth with labels={{...}} "
        "(--labels)"
    )


def _is_several(text: str) -> bool:
    """Whether text is a list or an object in JSON, or as Python prints it; "[PER]" is a label."""
    if text.strip()[:1] + text.strip()[-1:] not in ("[]", "{}"):
        return False
    for parse in (json.loads, ast.literal_eval):
        try:
            return isinstance(parse(text.strip()), list | dict | set)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    return False


def _refuse_several_units(texts: list[str], mixed: bool) -> None:
    """Refuse fractions of different totals, and per cent or fractions beside plain numbers."""
    units: dict[str, str] = {"": "plain numbers"} if mixed else {}
    for text in texts:
        fraction = OUT_OF.fullmatch(text)
        unit = f"/{fraction.group(2)}" if fraction else "%" if PER_CENT.match(text) else ""
        units.setdefault(unit, repr(text))
    if len(units) > 1:
        raise InputError(
            f"answers are out of different totals, {' and '.join(units.values())}: say what each is worth with "
            "labels="
        )


def _canonical(text: str) -> str:
    """Two spellings of one number are one label."""
    try:
        return repr(number(text))
    except ValueError:
        return text


def _amount(digits: str) -> float:
    """What `NUMBER` found: before a point commas separate thousands, else one is a decimal comma.

    Raises:
        ValueError: the comma may be either.
    """
    if THOUSANDS.fullmatch(digits):
        raise InputError(f"the comma of {digits!r} may separate thousands or be a decimal comma")
    return float(digits.replace(",", "") if "." in digits else digits.replace(",", "."))
