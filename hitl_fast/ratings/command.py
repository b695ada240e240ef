"""``hitl-fast ratings summary FILE``: agreement, raters, and what is missing."""

from __future__ import annotations

import argparse

from .table import Ratings


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = "agreement, raters, and what is missing, on one screen"
    summary = actions.add_parser(
        "summary", help=about, description=about[0].upper() + about[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    summary.add_argument("file", help="Label Studio, Argilla or Prodigy export, CSV, JSON lines or Parquet")
    summary.add_argument(
        "--plot", metavar="OUT.png", help="also draw scores, coverage and raters into this file"
    )
    summary.add_argument("--format", help="the file's format, if it is not recognised by what is in it")
    summary.add_argument("--question", action="append", help="question to read; may be given several times")
    summary.add_argument("--item", metavar="PATH", help='where item ids are, such as "data.image"')
    summary.add_argument(
        "--scale", nargs=2, type=float, metavar=("LOW", "HIGH"), help="lowest and highest possible score"
    )
    summary.epilog = parser.epilog = "example:\n  hitl-fast ratings summary export.json --plot ratings.png"


def run(arguments: argparse.Namespace) -> int:
    scale = None if arguments.scale is None else (arguments.scale[0], arguments.scale[1])
    ratings = Ratings.read(
        arguments.file, arguments.format, question=arguments.question, item=arguments.item, scale=scale
    )
    print(ratings.summary())
    if arguments.plot is not None:
        ratings.plot(arguments.plot)
        print(f"\ndrawn into {arguments.plot}")
    return 0
