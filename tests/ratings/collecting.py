"""A collection page that runs in this process or in one of its own, and requests to it as a browser sends them."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitl_fast.ratings.collect.opening import open_items
from hitl_fast.ratings.collect.schedule import Schedule
from hitl_fast.ratings.collect.server import Collection, bound, serve
from hitl_fast.ratings.collect.store import Store

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-tests-0123456789"
WAIT = 300  # seconds; for what hangs, not for what is slow


@dataclass
class Page:
    """A running server and how to call it."""

    port: int
    collection: Collection | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={TOKEN}"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        usual = {"Content-Type": "application/json", "X-Token": TOKEN}
        status, _, content = self.request("POST", path, json.dumps(body).encode(), {**usual, **headers})
        return status, json.loads(content)

    def join(self, name: str) -> dict[str, str]:
        status, told = self.post("/api/join", {"name": name})
        assert status == 200, told
        return {"name": told["name"], "secret": told["secret"]}


@contextmanager
def running(data: Path, out: Path, **schedule: Any) -> Iterator[Page]:
    """A server in a thread of this process."""
    items = open_items(data)
    plan = Schedule(schedule.pop("question", "rating"), len(items), **schedule)
    store = Store(out, {"items": len(items), "question": plan.question})
    with bound("127.0.0.1", 0) as sock:
        collection = Collection(items, store, plan, TOKEN)
        server = serve(collection, sock)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield Page(sock.getsockname()[1], collection)
        finally:
            server.should_exit = True
            thread.join(WAIT)
            store.close()
    assert not thread.is_alive()


def ended(process: subprocess.Popen[str]) -> None:
    """End the command as a power cut would."""
    process.kill()
    process.communicate()


def started(*arguments: str) -> tuple[subprocess.Popen[str], Page]:
    """The command in a process of its own, listening where it listened before, else where there is room."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hitl_fast", "collect", *arguments, "--token", TOKEN],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"},
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    address = re.fullmatch(rf"http://127\.0\.0\.1:(\d+)/\?token={TOKEN}\n", lines[1])
    if address is None:
        ended(process)
        raise AssertionError(lines)
    return process, Page(int(address[1]))
