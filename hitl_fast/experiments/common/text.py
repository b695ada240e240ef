"""Texts with topics that are on the machine: WordNet's glosses, else 20 Newsgroups."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hitl_fast._common.errors import InputError

# WordNet's lexicographer files of nouns that are topics, by their numbers (lexnames(5WN)).
TOPICS = {
    "animal": 5, "artifact": 6, "communication": 10, "food": 13, "location": 15, "person": 18, "plant": 20,
    "substance": 27,
}  # fmt: skip
FOLDERS = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/share/wordnet-3.0/dict")
GROUPS = (
    "comp.graphics", "misc.forsale", "rec.autos", "rec.sport.hockey", "sci.crypt", "sci.med", "sci.space",
    "talk.religion.misc",
)  # fmt: skip
PAD, UNKNOWN = 0, 1
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Texts:
    """Short texts (n,) in a fixed order, their topics (n,) as numbers, and where they are from."""

    texts: tuple[str, ...]
    labels: np.ndarray
    topics: tuple[str, ...]
    source: str


@functools.lru_cache(maxsize=1)
def load() -> Texts:
    """WordNet's glosses where Debian's wordnet-base (or ``WNSEARCHDIR``) is, else 20 Newsgroups from its cache.

    Raises:
        FileNotFoundError: neither is there; the message says how to get one.
    """
    folders = [os.environ["WNSEARCHDIR"]] if "WNSEARCHDIR" in os.environ else list(FOLDERS)
    for folder in folders:
        path = Path(folder) / "data.noun"
        if path.is_file():
            return glosses(path)
    try:
        return newsgroups()
    except (OSError, ImportError):
        raise FileNotFoundError(
            "no texts here: apt-get install wordnet-base (or set WNSEARCHDIR), or fetch 20 Newsgroups once with "
            "sklearn.datasets.fetch_20newsgroups()"
        ) from None


def glosses(path: Path) -> Texts:
    """Definitions of nouns, without their examples, in the order of the file (wndb(5WN)).

    Raises:
        ValueError: a line is not one of a WordNet data file.
    """
    number = {file: i for i, file in enumerate(TOPICS.values())}
    found: dict[str, int] = {}
    with path.open(encoding="utf-8") as lines:
        for at, line in enumerate(lines, 1):
            if line.startswith("  "):  # the licence
                continue
            head, bar, gloss = line.partition(" | ")
            fields = head.split(" ", 2)
            if not bar or len(fields) < 3 or not fields[1].isdigit():
                raise InputError(f"{path} line {at} is no line of WordNet's data: {line[:60]!r}")
            topic = number.get(int(fields[1]))
            definition = gloss.partition('; "')[0].strip()
            if topic is not None and len(words(definition)) >= 3:
                found.setdefault(
                    definition, topic
                )  # the first topic of a definition that several nouns share
    labels = np.fromiter(found.values(), np.int64, len(found))
    return Texts(tuple(found), labels, tuple(TOPICS), "glosses of WordNet's nouns")


def newsgroups() -> Texts:
    """Eight groups, without headers, quotes and footers, if scikit-learn has them on disk.

    Raises:
        OSError: it has not.
        ImportError: there is no scikit-learn.
    """
    from sklearn.datasets import fetch_20newsgroups

    data = fetch_20newsgroups(
        subset="all",
        categories=GROUPS,
        remove=("headers", "footers", "quotes"),
        shuffle=False,
        download_if_missing=False,
    )
    kept = [i for i, text in enumerate(data.data) if len(words(text)) >= 3]
    labels = np.asarray(data.target, np.int64)[kept]
    return Texts(tuple(data.data[i] for i in kept), labels, tuple(data.target_names), "20 Newsgroups")


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def vocabulary(texts: list[list[str]], size: int) -> list[str]:
    """The most frequent words, of equally frequent ones the first by alphabet."""
    counts = Counter(word for text in texts for word in text)
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def encode(texts: list[list[str]], known: dict[str, int], length: int) -> np.ndarray:
    """(n, length) int64: the number of each word, ``UNKNOWN`` for others, ``PAD`` behind the end."""
    out = np.full((len(texts), length), PAD, np.int64)
    for row, text in zip(out, texts, strict=True):
        numbers = [known.get(word, UNKNOWN) for word in text[:length]]
        row[: len(numbers)] = numbers
    return out
