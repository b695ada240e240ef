"""``hitl-fast collect DATA --out ratings.db``: a page on which people rate samples, in the browser."""

from __future__ import annotations

import argparse
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import refuse_overwriting, write_text

from .opening import open_items
from .reading import QUESTIONS, export_csv, last_port
from .schedule import Schedule
from .server import LOOPBACK, Collection, bound, checked_token, serve
from .store import Store

CHOSEN_FIRST = 240  # questions chosen by `ask_next`; the others follow at random


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "data",
        nargs="?",
        help="folder of images or of a saved Dataset, .npz, .npy, .txt (a text a line), .jsonl or .csv",
    )
    add("--out", required=True, metavar="FILE.db", help="database of the answers; continued if it exists")
    add("--question", choices=QUESTIONS, default="rating", help="1 to 5, yes or no, or which of two (rating)")
    add("--prompt", help="the question as people read it")
    add("--text", metavar="FIELD", help="field or column with the text")
    add(
        "--signals",
        metavar="FILE.npz",
        help="features and labels of the items: asks the most informative first",
    )
    add("-n", type=int, metavar="N", help="items to ask about (all)")
    add("--each", type=int, default=1, metavar="N", help="people who answer each question (1)")
    add(
        "--repeats",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="questions put twice, for test-retest (0.1)",
    )
    add("--seed", type=int, default=0, help="of the order of questions (0)")
    add(
        "--port",
        type=int,
        default=0,
        help="port to listen on (the last one of the database, else a free one)",
    )
    add("--host", help="address to listen on (127.0.0.1, this machine alone); needs --token")
    add("--token", help="what the page's address must contain (random)")
    add("--export", metavar="FILE.csv", help="write the answers as CSV and end")
    add("--forget", metavar="NAME", help="delete a person's name and answers and end")
    parser.epilog = (
        "example: hitl-fast collect images/ --out ratings.db -n 54\n\n"
        "Keys: 1-5, y, n, arrows; s skips, u takes the last answer back. Read the answers with\n"
        'hitl_fast.Ratings.read("ratings.db").'
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.export is not None or arguments.forget is not None:
        return _manage(arguments)
    if arguments.data is None:
        raise InputError("DATA is missing: the folder or file whose items are to be rated")
    token = checked_token(arguments.token, arguments.host)
    items = open_items(arguments.data, arguments.text)
    order = _order(arguments.signals, len(items), arguments.n)
    schedule = Schedule(
        arguments.question, len(items), order, arguments.n,
        arguments.each, arguments.repeats, arguments.seed,
    )  # fmt: skip
    host = LOOPBACK[0] if arguments.host is None else arguments.host
    everywhere = host in ("0.0.0.0", "::")
    before = last_port(arguments.out) if arguments.port == 0 else None
    with _listening(host, before, arguments.port) as sock:
        store = Store(arguments.out, _about(items, schedule))
        try:
            hosts = LOOPBACK if arguments.host is None else (host.lower(), *_names_of(host))
            collection = Collection(items, store, schedule, token, arguments.prompt, hosts, everywhere)
            if (
                before is None
            ):  # where it was taken, the next start goes back there: people's names are known there
                store.keep_port(sock.getsockname()[1])
            shown = _outward() if everywhere else f"[{host}]" if ":" in host else host
            server = serve(collection, sock)
            print(f"{len(items):,} items of {items.source}; answers go to {arguments.out}; Ctrl-C ends")
            print(f"http://{shown}:{sock.getsockname()[1]}/?token={token}", flush=True)
            server.run(sockets=[sock])
            print(f"{len(store.answers()):,} answers in {arguments.out}")
        finally:
            store.close()
    return 0


def _listening(host: str, before: int | None, port: int) -> socket.socket:
    """The port asked for; else that of the last time, under whose address browsers know their people; else any."""
    if before is not None:
        with suppress(OSError):
            return bound(host, before)
        print(
            f"port {before}, where this collection was, is taken: under another address people cannot go on under the "
            "names that they had",
            file=sys.stderr,
        )
    return bound(host, port)


def _manage(arguments: argparse.Namespace) -> int:
    if arguments.data is not None:
        raise InputError("--export and --forget take no DATA")
    if arguments.export is not None:
        refuse_overwriting("--export", arguments.export, arguments.out)
        write_text(arguments.export, export_csv(arguments.out))
        print(f"answers written to {arguments.export}", file=sys.stderr)
    if arguments.forget is not None:
        store = Store(arguments.out)
        try:
            count = store.forget(arguments.forget)
        finally:
            store.close()
        print(f"{arguments.forget} and {count:,} answers deleted from {arguments.out}", file=sys.stderr)
    return 0


def _about(items: Any, schedule: Schedule) -> dict[str, Any]:
    return {
        "kind": items.kind,
        "items": len(items),
        "data set": items.fingerprint(),
        "question": schedule.question,
    }


def _names_of(host: str) -> tuple[str, ...]:
    """Names that a browser may use for a server that listens everywhere: the token then guards it alone."""
    if host not in ("0.0.0.0", "::"):
        return ()
    name = socket.gethostname().lower()
    found = {name, socket.getfqdn().lower(), *LOOPBACK}
    with suppress(OSError):
        found |= {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    return tuple(sorted(found))


def _outward() -> str:
    """An address of this machine that others may reach: that of the way out, through which nothing is sent."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))
        return str(sock.getsockname()[0])
    return socket.gethostname()


def _order(path: str | None, size: int, count: int | None) -> list[int]:
    """Positions to ask about first, from a file with the arrays ``features`` and ``labels``."""
    if path is None:
        return []
    from ..questions import ask_next
    from ..signals import read_signals

    signals = read_signals(Path(path))
    if len(signals) != size:
        raise InputError(f"{path} has signals of {len(signals)} items, and the data set has {size}")
    return [int(i) for i in np.asarray(ask_next(signals, min(count or size, size, CHOSEN_FIRST)))]
