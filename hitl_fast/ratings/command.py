"""``hitl-fast ratings summary FILE``: agreement, raters, and what is missing."""

from __future__ import annotations

import argparse

from hitl_fast._common.errors import InputError

from .aggregation import METHODS
from .formats import FORMATS
from .ratings import Ratings


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = "agreement, raters, and what is missing, on one screen"
    summary = actions.add_parser(
        "summary", help=about, description=about[0].upper() + about[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = summary.add_argument
    add("file", help="export of an annotation tool or a crowdsourcing platform, CSV, JSON lines or Parquet")
    add("--plot", metavar="OUT.png", help="also draw scores, coverage and raters into this file")
    add("--format", metavar="NAME", help=f"the file's format, if it is not recognised: {', '.join(FORMATS)}")
    add("--question", action="append", help="question to read; may be given several times")
    add("--item", metavar="PATH", help='where item ids are, such as "data.image"')
    add("--score", metavar="COLUMN", help="the column of a table that holds the scores")
    add(
        "--columns", nargs="+", metavar="ROLE=COLUMN",
        help="columns of a table by role (item, rater, score, feature, seconds, status, gold, first, second, winner): "
        "a name, a position from 0 where the file has no header, or nothing where there is no such column",
    )  # fmt: skip
    add("--without", nargs="+", metavar="RATER", help="raters to leave out, such as a model's name")
    add("--raters", nargs="+", metavar="COLUMN", help="columns of a wide table that are a rater each")
    add("--labels", nargs="+", metavar="LABEL=WORTH", help="what labels are worth, such as low=0 high=2")
    add("--repeats", choices=("keep", "last"), help="whether a person's later rating replaces the earlier")
    add("--scale", nargs=2, type=float, metavar=("LOW", "HIGH"), help="lowest and highest possible score")
    add(
        "--combine",
        nargs="+",
        metavar="QUESTION=WEIGHT",
        help="also print scores combined from several questions",
    )
    add(
        "--method",
        choices=METHODS,
        default="calibrated",
        help="how --combine aggregates (default: %(default)s)",
    )
    summary.epilog = parser.epilog = "example:\n  hitl-fast ratings summary export.json --plot ratings.png"


def run(arguments: argparse.Namespace) -> int:
    scale = None if arguments.scale is None else (arguments.scale[0], arguments.scale[1])
    columns = _columns(arguments.columns or [])
    if arguments.score is not None:
        columns["score"] = arguments.score
    ratings = Ratings.read(
        arguments.file, arguments.format, question=arguments.question, item=arguments.item, scale=scale,
        columns=columns, raters=arguments.raters, repeats=arguments.repeats,
        labels=_numbers(arguments.labels, "--labels"),
    )  # fmt: skip
    if arguments.without is not None:
        ratings = ratings.without(arguments.without)
    print(ratings.summary())
    combine = _numbers(arguments.combine, "--combine")
    if combine is not None:
        found = ratings.aggregate(arguments.method, combine=combine)
        print(f"\n  combined    {len(found):,} items, mean {found.score.mean():.3f} of 1")
        order = found.score.argsort()[::-1]
        for name, part in (("highest", order[:5]), ("lowest", order[::-1][:5])):
            shown = ", ".join(f"{found.items[i]} {found.score[i]:.2f}" for i in part)
            print(f"  {name:<11} {shown}")
    if arguments.plot is not None:
        ratings.plot(arguments.plot)
        print(f"\ndrawn into {arguments.plot}")
    return 0


def _columns(pairs: list[str]) -> dict[str, str | int | None]:
    """Role -> column; digits are a position, nothing after the sign no column."""
    found: dict[str, str | int | None] = {}
    for pair in pairs:
        role, sign, column = pair.partition("=")
        if not sign:
            raise InputError(f"--columns takes ROLE=COLUMN, such as score=liking, not {pair!r}")
        found[role] = None if column in ("", "None") else int(column) if column.isdecimal() else column
    return found


def _numbers(pairs: list[str] | None, option: str) -> dict[str, float] | None:
    if pairs is None:
        return None
    found = {}
    for pair in pairs:
        name, sign, number = pair.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            sign = ""
        if not sign:
            raise InputError(f"{option} takes NAME=NUMBER, such as low=0, not {pair!r}")
    return found
