"""The web application: one page, a token for every request, and answers on the disk before they are confirmed."""

from __future__ import annotations

import html
import ipaddress
import json
import re
import secrets
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_fast._common.errors import InputError, InputTypeError, require

from .items import Items
from .reading import VALUES
from .schedule import PROMPTS, Schedule, progress
from .store import Store, Ticket, canonical, checked_seconds

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PAGE = Path(__file__).parent / "page"
MAX_BODY = 16_384  # bytes; an answer has fewer than 300
MAX_NAME = 60
FORMULA = "=+-@"  # an exported table is opened in a spreadsheet
LOOPBACK = ("127.0.0.1", "::1", "localhost")
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the token is in the page's address
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Collection:
    """Everything that one page serves.

    Attributes:
        items: the data set.
        store: the database.
        schedule: what is asked next.
        prompt: the question, as people read it; None for the usual one.
        token: what the page's address must hold.
        hosts: names and addresses that the browser may call the server by.
        any_address: whether it may also call it by any number of an address, as where the server listens on all of
            them. A foreign page can have a name resolved to this machine, and no number.
    """

    items: Items
    store: Store
    schedule: Schedule
    token: str
    prompt: str | None = None
    hosts: tuple[str, ...] = LOOPBACK
    any_address: bool = False
    scripts: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.prompt = self.prompt or PROMPTS[self.schedule.question]
        self.scripts = {name: (PAGE / name).read_text() for name in ("page.html", "page.css", "page.js")}

    def page(self) -> tuple[str, str]:
        """The page in one file, and the nonce that lets its script and style run."""
        nonce = secrets.token_urlsafe(16)
        settings = {"question": self.schedule.question, "prompt": self.prompt}
        parts = {
            "NONCE": nonce,
            "PROMPT": html.escape(str(self.prompt)),
            "STYLE": self.scripts["page.css"],
            "SCRIPT": self.scripts["page.js"],
            "SETTINGS": json.dumps(settings).replace("<", "\\u003c"),
        }
        return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], self.scripts["page.html"]), nonce

    def shown(self, ticket: Ticket | None, rater: str) -> dict[str, Any]:
        """What the page needs to put a question."""
        told = {"progress": progress(self.schedule, self.store.tally(), rater)}
        if ticket is None:
            return {**told, "ticket": None}
        places = [ticket.item] if ticket.other is None else [ticket.item, ticket.other]
        return {**told, "ticket": ticket.ticket, "items": [self.about(i) for i in places]}

    def about(self, item: int) -> dict[str, Any]:
        """What the page shows of an item. One that cannot be read is said to be so, and can be skipped."""
        try:
            found = {"kind": self.items.kind, **self.items.content(item)}
        except InputError as problem:
            found = {"kind": "text", "text": f"{problem}. Please skip it."}
        return {"item": item, **_sendable(found)}


def application(collection: Collection) -> Starlette:
    """The ASGI application.

    Raises:
        ImportError: the extra ``collect`` is not installed.
    """
    require("starlette", "collect", "the collection page")
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    store, schedule = collection.store, collection.schedule

    def guarded(
        handler: Callable[[Request], Awaitable[Response]],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                _admit(request, collection)
                response = await handler(request)
            except RefusedError as problem:
                response = JSONResponse({"error": str(problem)}, problem.status)
                if problem.status == 413:
                    response.headers["Connection"] = "close"  # what is left of the body is not read
            except (InputError, InputTypeError) as problem:
                response = JSONResponse({"error": str(problem)}, 400)
            except sqlite3.Error as problem:
                response = JSONResponse({"error": f"the database cannot be written: {problem}"}, 503)
            except ClientDisconnect:
                response = Response(status_code=400)  # nobody is left to read it
            response.headers.update(HEADERS)
            return response

        return answer

    async def page(request: Request) -> Response:
        content, nonce = collection.page()
        response = HTMLResponse(content)
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src blob: data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return response

    async def join(request: Request) -> Response:
        body = await _body(request)
        name = _name(body)
        try:
            secret = store.join(name, _text(body, "secret", optional=True))
        except PermissionError:
            raise RefusedError(
                409,
                f"Somebody already answers as {name}. Choose another name; or go on as {name} in the browser where "
                "you began.",
            ) from None
        return JSONResponse({"name": name, "secret": secret})

    async def following(request: Request) -> Response:
        rater = _member(store, await _body(request))
        return JSONResponse(collection.shown(schedule.next(store, rater), rater))

    async def answer(request: Request) -> Response:
        body = await _body(request)
        rater = _member(store, body)
        value = body.get("value")
        if value is not None and (isinstance(value, bool) or value not in VALUES[schedule.question]):
            raise RefusedError(400, f"value must be one of {VALUES[schedule.question]} or null for skip")
        ticket = _text(body, "ticket")
        seconds = checked_seconds(body.get("seconds"))
        try:
            fresh = store.answer(rater, str(ticket), None if value is None else float(value), seconds)
        except KeyError:
            raise RefusedError(404, f"{rater} was not asked a question with this ticket") from None
        return JSONResponse({"kept": fresh, **collection.shown(schedule.next(store, rater), rater)})

    async def undo(request: Request) -> Response:
        rater = _member(store, await _body(request))
        undone = store.undo(rater)
        return JSONResponse({"undone": undone, **collection.shown(schedule.next(store, rater), rater)})

    async def image(request: Request) -> Response:
        given = request.path_params["item"]
        item = int(given) if re.fullmatch("[0-9]{1,18}", given) else len(collection.items)
        if item >= len(collection.items):
            raise RefusedError(404, f"there is no item {given:.40}")
        content, kind = collection.items.image(item)
        return Response(content, media_type=kind)

    async def absent(request: Request) -> Response:
        raise RefusedError(404, "there is no such page")

    return Starlette(
        routes=[
            Route("/", guarded(page), methods=["GET"]),
            Route("/api/join", guarded(join), methods=["POST"]),
            Route("/api/next", guarded(following), methods=["POST"]),
            Route("/api/answer", guarded(answer), methods=["POST"]),
            Route("/api/undo", guarded(undo), methods=["POST"]),
            Route("/api/image/{item}", guarded(image), methods=["GET"]),
            Route("/{path:path}", guarded(absent), methods=["GET", "POST"]),
        ]
    )


def serve(collection: Collection, sock: socket.socket) -> Any:
    """A uvicorn server for the socket: ``run(sockets=[sock])`` blocks until ``should_exit`` is set."""
    uvicorn = require("uvicorn", "collect", "the collection page")
    return uvicorn.Server(
        uvicorn.Config(
            application(collection),
            log_level="warning",
            access_log=False,  # addresses hold the token
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=3,
        )
    )


def _admit(request: Request, collection: Collection) -> None:
    """Refuse a request from another site, by another name of the host, or without the token."""
    host = _hostname(request.headers.get("host", ""))
    if host not in collection.hosts and not (collection.any_address and _is_address(host)):
        raise RefusedError(403, f"this server is not called {host}")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise RefusedError(403, "requests from other sites are refused")
    if (
        request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        and request.method == "POST"
    ):
        raise RefusedError(403, "requests from other sites are refused")
    given = request.headers.get("x-token") or request.query_params.get("token", "")
    if not secrets.compare_digest(given.encode(), collection.token.encode()):
        raise RefusedError(
            403, "the token is missing or wrong: open the address that `hitl-fast collect` printed"
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _sendable(value: Any) -> Any:
    """Texts as UTF-8 can hold them: a file name or a JSON escape may be no valid text."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {name: _sendable(v) for name, v in value.items()}
    return [_sendable(v) for v in value] if isinstance(value, list) else value


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request, of bounded size."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise RefusedError(415, "expected content of type application/json")
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BODY:
            raise RefusedError(413, f"a request may have {MAX_BODY} bytes")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise RefusedError(400, "expected a JSON object") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "expected a JSON object")
    return body


def _text(body: dict[str, Any], name: str, optional: bool = False) -> str | None:
    value = body.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, str) or _sendable(value) != value:
        raise RefusedError(400, f"{name} must be text")
    return value


def _name(body: dict[str, Any]) -> str:
    name = canonical(str(_text(body, "name")))
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise RefusedError(400, f"a name has 1 to {MAX_NAME} printable characters")
    if name[0] in FORMULA:
        raise RefusedError(
            400, f"a name does not begin with {name[0]}, which spreadsheets take for a formula"
        )
    return name


def _member(store: Store, body: dict[str, Any]) -> str:
    """The person who asks, who must have joined in this browser."""
    name, secret = _name(body), _text(body, "secret")
    if not store.is_member(name, str(secret)):
        raise RefusedError(401, "this name is not known here: enter your name again")
    return name


def checked_token(token: str | None, host: str | None) -> str:
    """The token given, or a random one for a server that only this machine reaches.

    Raises:
        ValueError: the server may be reached from elsewhere and no token was given, or it is easily guessed.
    """
    if token is None:
        if host is not None:
            raise InputError("--host needs --token: whoever reaches the page could answer without one")
        return secrets.token_urlsafe(24)
    if not re.fullmatch(r"[\w.~-]{12,200}", token, re.ASCII):
        raise InputError("--token must be 12 to 200 letters, digits or -._~, so that it cannot be guessed")
    return token


def bound(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ValueError: the port is no port.
        OSError: the address is taken or not of this machine.
    """
    if not host.strip():
        raise InputError("--host is empty: leave it out for this machine alone, or name an address")
    if not 0 <= port < 65536:
        raise InputError(f"--port must be from 0 to 65535, not {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as problem:
        raise InputError(f"--host {host}: {problem.strerror or problem}") from None
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError as problem:
        sock.close()
        raise OSError(problem.errno, f"cannot listen on {host}, port {port}: {problem.strerror}") from None
    return sock
