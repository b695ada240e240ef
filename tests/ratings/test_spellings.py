"""Names of columns in every spelling that people and tools use: camelCase, kebab-case, with blanks, dots, no dashes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_fast.ratings import Ratings
from hitl_fast.ratings.formats.vocabulary import FAULTS, FLAGS, NAMES, NEVER, VERDICTS, describes, plain

WORDS = sorted({w for names in NAMES.values() for w in names} | {*FLAGS, *VERDICTS, *FAULTS, *NEVER})
SPELLINGS: dict[str, Callable[[list[str]], str]] = {
    "snake_case": "_".join,
    "camelCase": lambda words: words[0] + "".join(w.capitalize() for w in words[1:]),
    "PascalCase": lambda words: "".join(w.capitalize() for w in words),
    "camelID": lambda words: words[0] + "".join(w.upper() if w == "id" else w.capitalize() for w in words[1:]),
    "kebab-case": "-".join,
    "Header-Case": lambda words: "-".join(w.capitalize() for w in words),
    "Title Case": lambda words: " ".join(w.capitalize() for w in words),
    "dotted.case": ".".join,
    "UPPER_CASE": lambda words: "_".join(words).upper(),
    "UPPER CASE:": lambda words: " ".join(words).upper() + ":",
    "snake__case ": lambda words: "__".join(words) + " ",
    "with (a unit)": lambda words: " ".join(words) + " (1-5)",
    "a mark\ufeff": lambda words: "\ufeff" + "_".join(words),
    "a hard blank": "\u00a0".join,
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_name_is_known_in_every_spelling(spelling: str) -> None:
    for word in WORDS:
        dashes = word[: len(word) - len(word.lstrip("_"))]
        assert plain(dashes + SPELLINGS[spelling](word.lstrip("_").split("_"))) == word


def test_names_without_dashes() -> None:
    for word in WORDS:
        if not word.startswith("_") and all(len(part) > 1 for part in word.split("_")):
            assert plain(word.replace("_", "")) == word
    assert plain("times") == "times"  # and not time_s
    assert plain("_id") == "_id"
    assert describes("assignmentId")
    assert describes("Submit Time")


ITEMS = [n for n in NAMES["item"] if n not in ("index", "idx", "position", "row", "row_id")]
GRADED = ["score", "scores", "rating", "ratings", "mos", "grade", "stars"]


@pytest.mark.jit  # long: in the compiled pass alone
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    item=st.sampled_from(ITEMS),
    rater=st.sampled_from(NAMES["rater"]),
    score=st.sampled_from(GRADED),
    seconds=st.sampled_from([n for n in NAMES["seconds"] if n != "lead_time"]),
    how=st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=4, max_size=4),
    order=st.permutations(range(4)),
)
def test_a_long_table_in_any_spelling(
    item: str, rater: str, score: str, seconds: str, how: list[str], order: list[int], tmp_path: Path
) -> None:
    names = []
    for name, spelling in zip((item, rater, score, seconds), how, strict=True):
        dashes = name[: len(name) - len(name.lstrip("_"))]
        names.append(dashes + SPELLINGS[spelling](name.lstrip("_").split("_")))
    rows = [names, ["a", "x", "4", "2.5"], ["a", "y", "5", "3"], ["b", "x", "1", "9"]]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(",".join(row[k] for k in order) for row in rows))
    found = Ratings.read(path)
    frame = found.frame
    assert list(zip(frame.item, frame.rater, frame.score, frame.seconds, strict=True)) == [
        ("a", "x", 4, 2.5), ("a", "y", 5, 3), ("b", "x", 1, 9),
    ]  # fmt: skip


@pytest.mark.parametrize("other", ["worker_id", "Worker ID", "workerid", "WorkerID"])
def test_two_spellings_of_one_name_that_differ_are_refused(other: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"itemId,workerId,{other},score\n1,a,p,3\n1,b,p,4\n2,a,q,5\n")
    with pytest.raises(ValueError, match=rf"'workerId', '{other}' may each be the rater.*columns="):
        Ratings.read(path)
    path.write_text(
        f"itemId,workerId,{other},score\n1,a,p,3\n1,b,q,4\n2,a,p,5\n"
    )  # they name the same people
    assert Ratings.read(path).frame.score.tolist() == [3, 4, 5]
