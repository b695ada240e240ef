"""Numbers as people write them: "3,5", "1,234.5", "80%", "4 - good", "4/5", yes and no."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hitl_fast._common.errors import InputError

from .formats.answers import as_float

THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")  # "1,000": it may be 1, with a decimal comma
NUMBER = rf"({THOUSANDS.pattern}\.\d+|[+-]?\d+(?:[.,]\d+)?|{THOUSANDS.pattern})(?![.,]?\d)\s*"
ALONE = re.compile(rf"\s*{NUMBER}%?\s*")
# "4 - good", "4/5", "4 stars", "80 %": a label that begins with its number.
LEADING_NUMBER = re.compile(rf"\s*{NUMBER}(?:$|[-–—:.)=/%]|stars?\b|★)", re.IGNORECASE)
OUT_OF = re.compile(r"\s*[+-]?\d+(?:[.,]\d+)?\s*/\s*(\d+)\s*")  # "4/5"
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
        ValueError: ``labels`` leaves some out, or fractions are of different totals.
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
    leading = {t: LEADING_NUMBER.match(t) for t in texts}
    totals = {m.group(1): t for t in texts if (m := OUT_OF.fullmatch(t))}
    if len(totals) > 1:
        raise InputError(
            f"answers are out of different totals, {' and '.join(map(repr, totals.values()))}: say what each is "
            "worth with labels="
        )
    if all(leading.values()):
        # What may be either of two numbers is left out here, and refused with its line as an answer.
        sure = {t: m.group(1) for t, m in leading.items() if m and not THOUSANDS.fullmatch(m.group(1))}
        values = {t: _amount(digits) for t, digits in sure.items()}
        return values if len(set(values.values())) == len({_canonical(t) for t in values}) else None
    return None


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
