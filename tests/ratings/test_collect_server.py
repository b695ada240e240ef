"""Requests to the collection page: what is refused, what is served, and how little of the data set is read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from collecting import TOKEN, Page, running

from hitl_fast import cli
from hitl_fast.ratings.collect import items as items_module
from hitl_fast.ratings.collect.items import png
from hitl_fast.ratings.collect.reading import read_collection
from hitl_fast.ratings.collect.server import MAX_BODY, bound, checked_token


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for i in range(3):
            (folder / label / f"{i}.png").write_bytes(png(np.full((4, 4), 40 * i, np.uint8)))
    (tmp_path / "secret.png").write_bytes(b"secret")
    return folder


@pytest.fixture
def page(images: Path, tmp_path: Path) -> Iterator[Page]:
    with running(images, tmp_path / "r.db") as found:
        yield found


KEY = {"X-Token": TOKEN}
JSON = {**KEY, "Content-Type": "application/json"}


def test_the_page_runs_its_own_script_alone(page: Page) -> None:
    status, headers, content = page.request("GET", f"/?token={TOKEN}")
    assert status == 200
    policy = headers["content-security-policy"]
    nonce = re.search("script-src 'nonce-([^']+)'", policy)
    assert nonce is not None
    assert content.decode().count(f'nonce="{nonce[1]}"') == 2
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert not re.search(rb"https?://", content)
    assert page.request("GET", f"/?token={TOKEN}")[2] != content  # a nonce is used once


@pytest.mark.parametrize(
    "token", ["", "?token=", "?token=wrong", f"?token={TOKEN}x", f"?token={TOKEN[:-1]}", "?token=%C3%BC"]
)
@pytest.mark.parametrize("path", ["/", "/api/image/0", "/anything"])
def test_nothing_without_the_token(page: Page, path: str, token: str) -> None:
    status, _, content = page.request("GET", path + token)
    assert status == 403
    assert TOKEN.encode() not in content
    assert (
        page.request("POST", "/api/join" + token, b'{"name": "x"}', {"Content-Type": "application/json"})[0]
        == 403
    )
    assert page.collection is not None
    assert not page.collection.store.answers()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
    ],
)
def test_other_sites_are_refused(page: Page, headers: dict[str, str]) -> None:
    assert page.request("POST", "/api/join", b'{"name": "x"}', {**JSON, **headers})[0] == 403
    own = {"Origin": f"http://127.0.0.1:{page.port}", "Sec-Fetch-Site": "same-origin"}
    assert page.request("POST", "/api/join", b'{"name": "x"}', {**JSON, **own})[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.png", "/api/image/../../secret.png", "/api/image/..%2f..%2fsecret.png",
        "/api/image/%2e%2e/secret.png",
        "/api/image//etc/passwd", "/api/image/-1", "/api/image/6", "/api/image/99999999999999999999",
        "/api/image/0.png",
        "/api/image/cat/0.png", "/images/cat/0.png", "/r.db", "//r.db", "/page.js", "/server.py",
    ],
)  # fmt: skip
def test_only_items_are_served(page: Page, path: str) -> None:
    status, _, content = page.request("GET", path, headers=KEY)
    assert status == 404
    assert b"secret" not in content.replace(path.encode(), b"")
    assert page.request("GET", "/api/image/0", headers=KEY)[2].startswith(b"\x89PNG")


def test_large_requests_are_cut_off(page: Page) -> None:
    anna = page.join("anna")
    _, question = page.post("/api/next", anna)
    for size in (MAX_BODY, 10_000_000):
        body = json.dumps({**anna, "ticket": question["ticket"], "value": 3, "note": "x" * size}).encode()
        try:
            status = page.request("POST", "/api/answer", body, JSON)[0]
        except (BrokenPipeError, ConnectionResetError):
            continue  # the server closed while the rest was being sent
        assert status == 413
    assert page.collection is not None
    assert not page.collection.store.answers()
    assert page.post("/api/answer", {**anna, "ticket": question["ticket"], "value": 3})[0] == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"value": 6}, 400), ({"value": 0}, 400), ({"value": 2.5}, 400), ({"value": "3"}, 400), ({"value": True}, 400),
        ({"value": [3]}, 400), ({"value": {}}, 400), ({"seconds": -1}, 400),
        ({"seconds": "1"}, 400), ({"seconds": 1e400}, 400),
        ({"ticket": "x"}, 404), ({"ticket": None}, 400), ({"ticket": 3}, 400), ({"name": "ben"}, 401),
        ({"secret": "x"}, 401), ({"secret": None}, 400), ({"name": ""}, 400), ({"name": "x" * 61}, 400),
        ({"name": "a\x00b"}, 400), ({"name": 3}, 400),
    ],
)  # fmt: skip
def test_bad_answers_leave_no_trace(page: Page, change: dict[str, object], status: int) -> None:
    anna = page.join("anna")
    _, question = page.post("/api/next", anna)
    good = {**anna, "ticket": question["ticket"], "value": 3, "seconds": 0.0}
    got, told = page.post("/api/answer", {**good, **change})
    assert got == status
    assert told["error"]
    assert page.collection is not None
    assert not page.collection.store.answers()
    assert page.post("/api/answer", good)[1]["kept"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 10_000])
def test_bodies_that_are_no_object(page: Page, body: bytes) -> None:
    assert page.request("POST", "/api/join", body, JSON)[0] == 400
    assert page.request("POST", "/api/join", b"{}", KEY)[0] == 415


def test_nobody_answers_for_another(page: Page) -> None:
    anna, ben = page.join("anna"), page.join("ben")
    assert page.post("/api/join", {"name": "anna"})[0] == 409
    assert page.post("/api/join", {"name": " anna "})[0] == 409
    ticket = page.post("/api/next", anna)[1]["ticket"]
    assert page.post("/api/answer", {**ben, "ticket": ticket, "value": 1})[0] == 404
    assert page.post("/api/answer", {**ben, "name": "anna", "ticket": ticket, "value": 1})[0] == 401
    assert page.post("/api/answer", {**anna, "ticket": ticket, "value": 5})[1]["kept"]
    assert not page.post("/api/undo", ben)[1]["undone"]
    assert not page.post("/api/answer", {**anna, "ticket": ticket, "value": 1})[1]["kept"]
    assert page.collection is not None
    assert [(a.rater, a.value) for a in page.collection.store.answers()] == [("anna", 5.0)]
    assert page.post("/api/undo", anna)[1]["undone"]


def test_to_the_end(page: Page) -> None:
    anna = page.join("anna")
    told = page.post("/api/next", anna)[1]
    labels = []
    while told["ticket"] is not None:
        labels.append(told["items"][0]["label"])
        told = page.post("/api/answer", {**anna, "ticket": told["ticket"], "value": 2, "seconds": 0.1})[1]
    assert sorted(labels) == ["cat"] * 3 + ["dog"] * 3
    assert (told["progress"]["done"], told["progress"]["total"]) == (6, 6)


def test_a_damaged_item_is_said_to_be_so(page: Page, images: Path) -> None:
    (images / "cat" / "0.png").unlink()
    status, _, content = page.request("GET", "/api/image/0", headers=KEY)
    assert status == 400
    assert b"cat/0.png" in content


def test_a_first_question_reads_one_item_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "t.jsonl"
    data.write_text("".join(f'{{"text": "sample {i}"}}\n' for i in range(100_000)))
    read: list[int] = []
    usual = items_module.Lines._record
    monkeypatch.setattr(
        items_module.Lines, "_record", lambda self, item: read.append(item) or usual(self, item)
    )
    with running(data, tmp_path / "r.db") as page:
        anna = page.join("anna")
        told = page.post("/api/next", anna)[1]
    assert told["progress"]["total"] == 100_000
    shown = told["items"][0]
    assert shown["text"] == f"sample {shown['item']}"
    assert read == [0, shown["item"]]  # the first, for its fields, and the one shown


def test_a_first_question_opens_no_image(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    usual = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self.name) or usual(self))
    with running(images, tmp_path / "r.db") as page:
        item = page.post("/api/next", page.join("anna"))[1]["items"][0]["item"]
        assert not opened
        page.request("GET", f"/api/image/{item}", headers=KEY)
    assert len(opened) == 1


def test_tokens_and_hosts(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    assert len(checked_token(None, None)) >= 32
    assert checked_token(None, None) != checked_token(None, None)
    out = ["--out", str(tmp_path / "r.db")]
    for arguments, named in (
        ([str(images), "--host", "0.0.0.0"], "--token"),
        ([str(images), "--host", "127.0.0.1"], "--token"),
        ([str(images), "--token", "short"], "--token"),
        ([str(images), "--token", "with space and more"], "--token"),
        ([str(images), "--port", "70000"], "--port"),
        ([str(images), "--host", "no.such.host.invalid", "--token", TOKEN], "no.such.host.invalid"),
        ([], "DATA"),
        ([str(images), "--repeats", "2"], "repeats"),
        ([str(images), "-n", "0"], "1 or more"),
        ([str(tmp_path / "absent")], "absent"),
        ([str(images), "--export", "x.csv"], "DATA"),
        (["--export", str(tmp_path / "x.csv")], "r.db"),
        (["--forget", "anna"], "r.db"),
    ):
        assert cli.main(["collect", *arguments, *out]) == 2
        assert named in capsys.readouterr().err
    assert not (tmp_path / "r.db").exists()
    with bound("127.0.0.1", 0) as taken, pytest.raises(OSError, match="listen"):
        bound("127.0.0.1", taken.getsockname()[1])


def test_export_and_forget(page: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anna = page.join("anna")
    ticket = page.post("/api/next", anna)[1]["ticket"]
    page.post("/api/answer", {**anna, "ticket": ticket, "value": 4})
    out = ["--out", str(tmp_path / "r.db")]
    assert cli.main(["collect", *out, "--export", str(tmp_path / "x.csv")]) == 0
    assert ",anna,4,submitted," in (tmp_path / "x.csv").read_text()
    assert cli.main(["collect", *out, "--forget", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err
    assert cli.main(["collect", *out, "--forget", "anna"]) == 0
    assert not read_collection(tmp_path / "r.db")[1]
    assert page.post("/api/next", anna)[0] == 401  # the browser is asked for a name again
