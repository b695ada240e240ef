"""What people, files and clocks may do to a collection: no answer is lost, nobody is stuck, no traceback is shown."""

import json
import os
import socket
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from collecting import TOKEN, Page, running

from hitl_fast import Ratings, cli
from hitl_fast._common.errors import InputError
from hitl_fast.ratings.collect import command, server
from hitl_fast.ratings.collect.items import png
from hitl_fast.ratings.collect.opening import open_items
from hitl_fast.ratings.collect.reading import export_csv, is_begun, last_port, read_collection
from hitl_fast.ratings.collect.schedule import Schedule
from hitl_fast.ratings.collect.store import HELD, Store

ABOUT = {"kind": "text", "items": 20, "data set": "x", "question": "rating"}
HEADERS = {"X-Token": TOKEN, "Content-Type": "application/json"}


def filled(path: Path, question: str = "rating", values: tuple[float | None, ...] = (1.0,)) -> Path:
    """A database with an answer for each value."""
    store = Store(path, {**ABOUT, "question": question})
    store.join("anna", None)
    for item, value in enumerate(values):
        other = item + 10 if question == "pairs" else None
        store.answer("anna", store.give("anna", item, other, 0).ticket, value, 0.5)
    store.close()
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    data = tmp_path / "t.txt"
    data.write_text("".join(f"sample {i}\n" for i in range(20)))
    return data


def to_the_end(page: Page, name: str) -> list[dict[str, object]]:
    """Every item that a person is shown, each answered."""
    who = page.join(name)
    told, shown = page.post("/api/next", who)[1], []
    while told["ticket"] is not None:
        shown += told["items"]
        status, told = page.post("/api/answer", {**who, "ticket": told["ticket"], "value": 2, "seconds": 0.1})
        assert status == 200, told
    return shown


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 10**400}, {"seconds": -(10**400)}, {"ticket": "\ud800"}, {"secret": "\ud800"}, {"name": "\ud800"},
        {"name": "a\u202eb"}, {"name": "=1+1"}, {"name": "@anna"}, {"value": 10**400}, {"ticket": "a\x00b"},
    ],
)  # fmt: skip
def test_strange_values_are_refused_and_leave_no_trace(
    texts: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    with running(texts, tmp_path / "r.db") as page:
        anna = page.join("anna")
        good = {**anna, "ticket": page.post("/api/next", anna)[1]["ticket"], "value": 3}
        status, told = page.post("/api/answer", {**good, **change})
        assert 400 <= status < 500
        assert told["error"]
        status = 400 if change.keys() & {"name", "secret"} else 200
        assert page.post("/api/join", {**anna, **change})[0] == status
        assert page.post("/api/answer", good)[1]["kept"]
        assert page.request("GET", f"/api/image/{'9' * 5000}", headers=HEADERS)[0] == 404
    connection = sqlite3.connect(tmp_path / "r.db")
    for table, column in (("people", "name"), ("answers", "rater")):
        assert connection.execute(f"SELECT {column} FROM {table}").fetchall() == [("anna",)]
    connection.close()


def test_one_name_however_it_is_written(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(texts, tmp_path / "r.db") as page:
        page.join("Jos\u00e9  \u0141")
        assert page.post("/api/join", {"name": "Jose\u0301 \u0141 "})[0] == 409
    assert cli.main(["collect", "--out", str(tmp_path / "r.db"), "--forget", "Jose\u0301 \u0141"]) == 0
    assert "0 answers" in capsys.readouterr().err


def test_a_request_that_breaks_off_leaves_no_traceback(
    texts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    head = f"POST /api/join HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Token: {TOKEN}\r\nContent-Type: application/json\r\n"
    with running(texts, tmp_path / "r.db") as page:
        with socket.create_connection(("127.0.0.1", page.port)) as sock:
            sock.sendall(f"{head}Content-Length: 100\r\n\r\nabc".encode())
        page.join("anna")
    assert "Traceback" not in capfd.readouterr().err


def test_items_that_cannot_be_read_or_sent_can_be_skipped(tmp_path: Path) -> None:
    data = tmp_path / "t.jsonl"
    data.write_bytes(b'{"text": "a"}\nno json\n{"text": "\\ud800"}\n{"text": "\xff"}\n{"other": 1}\n')
    with running(data, tmp_path / "r.db", repeats=0.0) as page:
        shown = {item["item"]: item["text"] for item in to_the_end(page, "anna")}
    assert len(shown) == 5
    assert shown[0] == "a"
    for item, named in ((1, "line 2"), (3, "line 4")):
        assert named in str(shown[item])
        assert "skip" in str(shown[item])


def test_file_names_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(np.zeros((2, 2), np.uint8)))
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(png(np.ones((2, 2), np.uint8)))
    with running(folder, tmp_path / "r.db", repeats=0.0) as page:
        assert len(to_the_end(page, "anna")) == 2
        assert page.request("GET", "/api/image/1", headers=HEADERS)[0] == 200


def test_a_text_file_that_changes_is_said_to_have(texts: Path, tmp_path: Path) -> None:
    items = open_items(texts)
    texts.write_text("short\n")  # where the file was mapped, reading it would end the process
    for item in (0, 19):
        with pytest.raises(InputError, match="changed"):
            items.content(item)
    texts.unlink()
    with pytest.raises(InputError, match="changed"):
        items.content(0)


def test_links_and_pipes_in_a_folder(tmp_path: Path) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    for folder in (data / "cat", outside):
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(folder.name.encode())
    os.mkfifo(data / "cat" / "pipe.png")
    items = open_items(data)
    assert [items.content(i)["name"] for i in range(len(items))] == ["0.png"]
    (data / "cat").rename(tmp_path / "cat")
    (data / "cat").symlink_to(outside)  # a folder on the way is exchanged while the page is served
    with pytest.raises(InputError, match="outside"):
        items.image(0)
    with pytest.raises(InputError, match="link to a folder"):
        open_items(data)
    (data / "cat").unlink()
    (data / "cat").mkdir()
    os.mkfifo(data / "cat" / "0.png")
    with pytest.raises(InputError, match="no longer a file"):
        items.image(0)


@pytest.mark.parametrize("step", [-86400.0, -5.0, 86400.0])
def test_a_clock_that_is_set_loses_no_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    store, schedule = Store(tmp_path / "r.db", ABOUT), Schedule("rating", 20, repeats=0)
    ticket = schedule.next(store, "anna")
    assert ticket is not None
    usual = time.time
    monkeypatch.setattr(time, "time", lambda: usual() + step)
    store.answer("anna", ticket.ticket, 4.0, 1.5)
    assert schedule.next(store, "anna") is not None
    store.answer("ben", store.give("ben", 1, None, 0).ticket, 4.0, 9.0)  # more than has passed since
    assert [a.seconds for a in store.answers()] == [1.5, None]
    monkeypatch.setattr(time, "time", lambda: usual() + step - 2 * HELD)
    assert not store.held()  # not held until that clock comes round again
    store.close()


def test_an_answer_that_is_sent_again_keeps_its_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, usual = Store(tmp_path / "r.db", ABOUT), time.time
    ticket = store.give("anna", 0, None, 0).ticket
    store._run("CREATE TRIGGER full BEFORE INSERT ON answers BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    monkeypatch.setattr(
        time, "time", lambda: usual() - 86400
    )  # the clock was set while the question was shown
    with pytest.raises(sqlite3.DatabaseError, match="full"):
        store.answer("anna", ticket, 4.0, 1.5)
    store._run("DROP TRIGGER full")
    assert store.answer("anna", ticket, 4.0, 1.5)
    assert [a.seconds for a in store.answers()] == [1.5]
    store.close()


DAMAGE = {
    "no about": "DELETE FROM about",
    "about is no JSON": "UPDATE about SET value = '{'",
    "about is a list": "UPDATE about SET value = '[1]'",
    "about is empty": "UPDATE about SET value = '{}'",
    "another question": 'UPDATE about SET value = \'{"items": 20, "question": "stars"}\'',
    "no answers": "DROP TABLE answers",
    "a value out of range": "UPDATE answers SET value = 9",
    "a value that is text": "UPDATE answers SET value = 'abc'",
    "an item out of range": "UPDATE answers SET item = 20",
    "an item below 0": "UPDATE answers SET item = -1",
    "a second item": "UPDATE answers SET other = 3",
    "seconds that are text": "UPDATE answers SET seconds = 'abc'",
    "seconds below 0": "UPDATE answers SET seconds = -1",
    "seconds without end": "UPDATE answers SET seconds = 9e999",
    "a rater who is no text": "UPDATE answers SET rater = x'00ff'",
    "a time that is no text": "UPDATE answers SET at = x'00ff'",
    "a repeat that is text": "UPDATE answers SET repeat = 'abc'",
    "an older version": "PRAGMA user_version = 0",
    "a newer version": "PRAGMA user_version = 2",
    "another program": "PRAGMA application_id = 5",
}


@pytest.mark.parametrize("damage", [*DAMAGE, "cut", "cut in its header", "overwritten"])
def test_damaged_databases_are_one_line(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = filled(tmp_path / "r.db")
    content = path.read_bytes()
    if damage in DAMAGE:
        connection = sqlite3.connect(path)
        connection.execute(DAMAGE[damage])
        connection.commit()
        connection.close()
    else:
        cut = {"cut": content[:6000], "cut in its header": content[:50]}
        path.write_bytes(cut.get(damage, content[:4096] + b"\xff" * 8000 + content[12096:]))
    with pytest.raises(InputError, match="r.db"):
        Ratings.read(path)
    for arguments in (
        ["collect", "--out", str(path), "--export", str(tmp_path / "x.csv")],
        ["ratings", "summary", str(path)],
    ):
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.csv").exists()
    if not DAMAGE.get(damage, "").startswith("UPDATE answers"):
        with pytest.raises(InputError, match="r.db"):
            Store(path, {**ABOUT, "data set": open_items(texts).fingerprint()})


def test_nothing_is_written_over_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = filled(tmp_path / "r.db")
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "s.npz", features=generator.normal(size=(20, 3)), labels=np.arange(20) % 2)
    (tmp_path / "link.db").symlink_to(path)
    os.link(path, tmp_path / "hard.db")
    collect, ask = (
        ["collect", "--out", str(path), "--export"],
        ["ask", str(tmp_path / "s.npz"), "-n", "2", "--out"],
    )
    kept = {p: p.read_bytes() for p in (path, tmp_path / "s.npz")}
    for arguments in (
        *([*collect, str(tmp_path / name)] for name in ("r.db", "link.db", "hard.db", "r.db-wal", "r.db-shm")),
        [*ask, str(tmp_path / "s.npz")], [*ask, str(path), "--ratings", str(path)],
        [*ask, str(tmp_path / "link.db"), "--ratings", str(path)],
    ):  # fmt: skip
        assert cli.main(arguments) == 2
        assert "overwrite" in capsys.readouterr().err
    assert kept == {p: p.read_bytes() for p in kept}
    assert cli.main([*ask, str(tmp_path / "q.csv"), "--ratings", str(path)]) == 0


def test_exported_answers_read_as_the_database_does(tmp_path: Path) -> None:
    pairs = filled(tmp_path / "p.db", "pairs", (1.0, 0.0, 0.5, None))
    (tmp_path / "p.csv").write_text(export_csv(pairs))
    found, wanted = Ratings.read(tmp_path / "p.csv"), Ratings.read(pairs)
    assert len(found) == len(wanted) == 0
    columns = ["first", "second", "rater", "outcome"]
    assert found.comparisons[columns].values.tolist() == wanted.comparisons[columns].values.tolist()
    assert len(found.skipped) == len(wanted.skipped) == 1
    rated = filled(tmp_path / "r.db", values=(1.0, 5.0, None))
    (tmp_path / "r.csv").write_text(export_csv(rated))
    again = Ratings.read(tmp_path / "r.csv")
    assert (
        again.frame[["item", "score"]].values.tolist()
        == Ratings.read(rated).frame[["item", "score"]].values.tolist()
    )


def test_answers_about_pairs_are_not_asked_for_again(tmp_path: Path) -> None:
    from hitl_fast import Signals

    generator = np.random.default_rng(0)
    signals = Signals.of(generator.normal(size=(20, 3)), np.arange(20) % 2)
    ratings = Ratings.read(filled(tmp_path / "p.db", "pairs", (1.0, 0.0)))
    assert sorted(ratings.ask_next(signals, 16)) == sorted(set(range(20)) - {0, 1, 10, 11})


def test_a_database_knows_the_length_of_its_data_set(tmp_path: Path) -> None:
    from hitl_fast import Signals

    generator = np.random.default_rng(0)
    signals = Signals.of(generator.normal(size=(30, 3)), np.arange(30) % 2)
    ratings = Ratings.read(filled(tmp_path / "r.db", values=(1.0, 5.0)))
    assert ratings.aggregate().weights().shape == (20,)
    for call in (lambda: ratings.ask_next(signals, 2), lambda: ratings.aggregate().propagate(signals)):
        with pytest.raises(InputError, match="20 items.*30 samples"):
            call()


def test_the_page_comes_back_where_it_was(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ended:
        def run(self, sockets: list[socket.socket]) -> None:
            ports.append(sockets[0].getsockname()[1])

    ports: list[int] = []
    monkeypatch.setattr(command, "serve", lambda *_: Ended())
    arguments = ["collect", str(texts), "--out", str(tmp_path / "r.db")]
    assert last_port(tmp_path / "r.db") is None
    for _ in range(2):  # browsers keep people's secrets by address and port
        assert cli.main(arguments) == 0
    assert ports[0] == ports[1] == last_port(tmp_path / "r.db")
    with server.bound("127.0.0.1", ports[0]):
        assert cli.main(arguments) == 0
    assert ports[2] != ports[0] == last_port(tmp_path / "r.db")
    assert f"port {ports[0]}" in capsys.readouterr().err
    assert cli.main(arguments) == 0
    assert ports[3] == ports[0]  # one start elsewhere loses nobody's name
    with server.bound("127.0.0.1", 0) as sock:
        other = sock.getsockname()[1]
    assert cli.main([*arguments, "--port", str(other)]) == 0
    assert ports[4] == other == last_port(tmp_path / "r.db")  # asked for
    assert cli.main([*arguments, "--host", "0.0.0.0", "--token", TOKEN]) == 0
    assert "//0.0.0.0" not in capsys.readouterr().out
    for wrong in (["--seed", "-1"], ["--host", " ", "--token", TOKEN]):
        assert cli.main([*arguments, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("everywhere", "status"), [(True, 200), (False, 403)])
def test_a_server_on_all_addresses_answers_to_each(
    texts: Path, tmp_path: Path, everywhere: bool, status: int
) -> None:
    with running(texts, tmp_path / "r.db") as page:
        assert page.collection is not None
        page.collection.any_address = everywhere
        body = json.dumps({"name": "anna"}).encode()
        for host in ("192.0.2.7", "[2001:db8::1]"):
            named = {**HEADERS, "Host": f"{host}:{page.port}", "Origin": f"http://{host}:{page.port}"}
            assert page.request("POST", "/api/join", body, named)[0] in (status, 409)
        assert page.request("POST", "/api/join", body, {**HEADERS, "Host": "evil.example"})[0] == 403


def test_a_collection_that_has_not_begun(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    assert not is_begun(path)
    path.touch()  # what SQLite leaves until the first commit
    assert not is_begun(path)
    path.unlink()
    filled(path)
    assert is_begun(path)
    path.write_text("something else")
    with pytest.raises(InputError, match="SQLite"):
        is_begun(path)


def test_a_database_on_a_disk_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "r.db")
    connect, said = sqlite3.connect, "unable to open database file"

    class Unshared(sqlite3.Connection):
        def execute(self, *_: object) -> sqlite3.Cursor:
            raise sqlite3.OperationalError(said)

    def refused(address: str, **options: object) -> sqlite3.Connection:
        if "immutable" in str(address):
            return connect(address, **options)  # type: ignore[call-overload, no-any-return]
        return connect(":memory:", factory=Unshared)

    monkeypatch.setattr(sqlite3, "connect", refused)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(read_collection(path)[1]) == 1
    for name, content in (("r.db-wal", b"more"), ("r.db-wal", b""), ("r.db-shm", b"")):
        (tmp_path / name).write_bytes(
            content
        )  # another account may be writing, also into the log's beginning
        with pytest.raises(InputError, match="cannot be read"):
            read_collection(path)
        (tmp_path / name).unlink()
    said = "database is locked"
    with pytest.raises(InputError, match="locked"):
        read_collection(path)


def test_questions_are_written_as_they_were_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "s.npz", features=generator.normal(size=(20, 3)), labels=np.arange(20) % 2)
    ask = ["ask", str(tmp_path / "s.npz"), "-n", "2"]
    for name in ("q.json", "q.parquet", "q.xlsx"):
        assert cli.main([*ask, "--out", str(tmp_path / name)]) == 2
        assert "--format" in capsys.readouterr().err
        assert not (tmp_path / name).exists()
    assert cli.main([*ask, "--format", "label_studio"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    for option in (["--seed", "-1"], ["-n", "0"], ["-n", "21"], ["--diversity", "nan"]):
        assert cli.main([*ask, *option]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_database_that_cannot_be_read_does_not_move_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for one without a page, it would be served on another port, for good."""
    path = tmp_path / "r.db"
    assert last_port(path) is None
    path.touch()
    assert last_port(path) is None
    path.unlink()
    store = Store(path, ABOUT)
    assert last_port(path) is None
    store.keep_port(4321)
    assert last_port(path) == 4321
    store._run("UPDATE about SET value = '99999999' WHERE key = 'port'")
    assert last_port(path) is None
    store.close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **given: connect(*a, **{**given, "timeout": 0}))
    other = connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match=r"r\.db cannot be read: .*locked"):
        last_port(path)
    other.close()
    path.write_text("no database")
    with pytest.raises(InputError, match="SQLite"):
        last_port(path)
