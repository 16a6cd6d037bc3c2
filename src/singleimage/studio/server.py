"""The server of the studio: what pages ask for.

No name from a client becomes a path: photos, orders and runs have ids, and what is in them has
names of ours. Pictures are decoded by the reader that the command line has.
"""

import asyncio
import json
import mimetypes
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from singleimage.errors import ArgumentError, SingleImageError
from singleimage.images.photo import Photo
from singleimage.images.reader import photo_from, read_photo
from singleimage.studio.guard import Guard, cookie_of
from singleimage.studio.intake import keep_photo, save_full, save_preview
from singleimage.studio.orders import KINDS, MOST, TRAINING, flags_of
from singleimage.studio.shelf import (
    REST,
    Order,
    PhotoCard,
    RunCard,
    Shelf,
    new_id,
    now,
    preview_of,
    require_space,
)
from singleimage.studio.workshop import Workshop

UPLOAD_LIMIT = 200_000_000
"""Bytes of a photo or a layer, at most."""
WORDS_LIMIT = 100_000
"""Bytes of any other request, at most."""
UPLOAD_SECONDS = 120.0
"""Seconds for an upload."""
QUIET = 15.0
"""Seconds without an event after which a page is told that all is well."""
PAGE = Path(__file__).parent / "page"
mimetypes.add_type("text/javascript", ".js")  # on Windows, other programs set these types
mimetypes.add_type("text/css", ".css")
mimetypes.add_type("image/svg+xml", ".svg")
mimetypes.add_type("image/webp", ".webp")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}\.(png|tiff|gif|webp)")


class Refused(Exception):
    """A request that is not answered, with its status and words for people."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def make_app(
    shelf: Shelf,
    *,
    hosts: frozenset[str] | None,
    token: str | None = None,
    opened: str | None = None,
) -> Starlette:
    """The studio as an ASGI application.

    Args:
        shelf: what it keeps.
        hosts: names and port under which it is reached; None: any, with a token.
        token: what a client must know; None: it is on this machine.
        opened: id of the photo to begin with.
    """
    workshop = Workshop(shelf)
    studio = Studio(shelf, workshop, opened, token)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        work = asyncio.create_task(workshop.working())
        yield
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    return Starlette(
        routes=studio.routes(),
        middleware=[Middleware(Guard, hosts=hosts, token=token)],
        exception_handlers={
            Refused: refused,
            SingleImageError: in_words,
            KeyError: missing,
            ClientDisconnect: gone,
        },
        lifespan=lifespan,
    )


async def refused(_: Request, error: Exception) -> Response:
    """Answer a request with the status and the words of its `error`."""
    assert isinstance(error, Refused)
    return JSONResponse({"error": str(error)}, error.status)


async def in_words(_: Request, error: Exception) -> Response:
    """Answer with the words of an `error` that is the user's to mend."""
    return JSONResponse({"error": " ".join(str(error).split())}, 400)


async def missing(_: Request, error: Exception) -> Response:
    """Answer that what was asked for does not exist; `error` is a `KeyError`."""
    return JSONResponse({"error": "there is no such thing here; it may have been deleted."}, 404)


async def gone(_: Request, error: Exception) -> Response:
    """Answer a client that has left; `error` says so."""
    return Response(status_code=400)


class Studio:
    """What pages ask for."""

    def __init__(
        self, shelf: Shelf, workshop: Workshop, opened: str | None, token: str | None
    ) -> None:
        self.shelf = shelf
        self.workshop = workshop
        self._opened = opened
        self._token = token
        self._decoding = asyncio.Semaphore(1)  # large pictures take memory

    def routes(self) -> list[Route | Mount]:
        """Every address."""
        post: Callable[..., Route] = lambda path, do: Route(path, do, methods=["POST"])  # noqa: E731
        return [
            Route("/", self.page),
            Route("/api/state", self.state),
            Route("/api/events", self.events),
            post("/api/photos", self.add_photo),
            Route("/api/photos/{id}/{what}", self.photo),
            post("/api/orders", self.add_order),
            post("/api/orders/{id}/layers/{name}", self.add_layer),
            post("/api/orders/{id}/{verb}", self.change_order),
            Route("/api/orders/{id}/pictures/{name}", self.picture),
            post("/api/runs", self.add_run),
            post("/api/estimate", self.estimate),
            post("/api/runs/{id}/{verb}", self.change_run),
            Route("/api/runs/{id}/drafts/{name}", self.draft),
            Mount("/page", StaticFiles(directory=PAGE)),
        ]

    async def page(self, request: Request) -> Response:
        """The page itself."""
        response = FileResponse(PAGE / "index.html", headers={"cache-control": "no-store"})
        if self._token is not None:
            name = cookie_of(request.headers)
            response.set_cookie(name, self._token, httponly=True, samesite="strict")
        return response

    async def state(self, request: Request) -> Response:
        """All there is, for a page that begins."""
        await self.workshop.look()
        runs = [self.workshop.shown_run(r) for r in self.shelf.runs.values() if not r.hidden]
        orders = [self.workshop.shown(o) for o in self.shelf.orders.values() if not o.hidden]
        return JSONResponse(
            {
                "photos": [msgspec.to_builtins(photo) for photo in self.shelf.photos.values()],
                "orders": orders,
                "runs": runs,
                "opened": self._opened,
            }
        )

    async def events(self, request: Request) -> Response:
        """What happens, as server-sent events."""

        async def stream() -> AsyncIterator[str]:
            yield "retry: 1000\n\n"
            events = self.workshop.events()
            waiting = asyncio.ensure_future(anext(events))
            try:
                while True:
                    done, _ = await asyncio.wait([waiting], timeout=QUIET)
                    if not done:
                        yield ": all is well\n\n"
                        continue
                    if isinstance(waiting.exception(), StopAsyncIteration):
                        return  # too far behind: the page comes again
                    yield f"data: {json.dumps(waiting.result())}\n\n"
                    waiting = asyncio.ensure_future(anext(events))
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await events.aclose()  # type: ignore[attr-defined]

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    # Photos

    async def add_photo(self, request: Request) -> Response:
        """Take a photo: its bytes are the body, its name a header."""
        data = await body_of(request, UPLOAD_LIMIT)
        name = Path(_header(request, "x-name") or "photo.png").name[:200]
        card = await self._kept(data, name)
        self.workshop.tell("photo", photo=msgspec.to_builtins(card))
        return JSONResponse(msgspec.to_builtins(card))

    async def _kept(self, data: bytes, name: str) -> PhotoCard:
        require_space(self.shelf.folder, len(data))
        async with self._decoding:
            return await run_in_threadpool(keep_photo, self.shelf, data, name)

    async def photo(self, request: Request) -> Response:
        """A photo as it was given, or as browsers show it, whole or reduced."""
        card = self.shelf.photos[request.path_params["id"]]
        if request.path_params["what"] == "preview":
            return _file(self.shelf.preview_file(card))
        if request.path_params["what"] == "file":
            return _file(self.shelf.photo_file(card), card.name)
        if request.path_params["what"] == "full":
            return await self._shown(
                self.shelf.photo_file(card), self.shelf.full_file(card), save_full
            )
        raise KeyError

    async def _shown(
        self, file: Path, shown: Path, save: Callable[[Photo, Path], None]
    ) -> Response:
        """A `file` as a browser can decode it; made when it is first asked for."""
        async with self._decoding:
            if not shown.exists():
                await run_in_threadpool(lambda: save(read_photo(file), shown))
        return _file(shown)

    # Orders

    async def add_order(self, request: Request) -> Response:
        """Take an order; those with layers wait until these have come."""
        facts = await _facts(request)
        kind = str(facts.get("kind", ""))
        layers = _names(facts.get("layers", []), KINDS[kind].layers if kind in KINDS else ())
        order = Order(
            id=new_id(),
            kind=kind,
            photo=self.shelf.photos[str(facts.get("photo"))].id,
            run=None if facts.get("run") is None else self._usable_run(str(facts["run"])),
            settings=_settings(facts),
            layers=layers,
            seed=_whole(facts, "seed", 0, 2**31 - MOST),
            count=_whole(facts, "count", 1, MOST),
            created=now(),
            state="stopped",
        )
        self.workshop.lines(order)  # raises, if it cannot be
        self.shelf.keep(order)
        if not layers:
            self.workshop.take(order)
        return JSONResponse(self.workshop.shown(order))

    def _usable_run(self, key: str) -> str:
        run = self.shelf.runs[key]
        if not (self.shelf.run_folder(key) / "model.safetensors").exists():
            raise Refused(409, "this training has no model yet; wait for its first level.")
        return run.id

    async def add_layer(self, request: Request) -> Response:
        """Take a picture that goes along with an order; the last one begins it."""
        order = self.shelf.orders[request.path_params["id"]]
        name = request.path_params["name"]
        if name not in order.layers:
            raise KeyError(name)
        file = self.shelf.layer_file(order, name)
        if file.exists():
            raise Refused(409, "that layer is there already.")
        data = await body_of(request, UPLOAD_LIMIT)
        require_space(self.shelf.folder, len(data))
        async with self._decoding:
            photo = await run_in_threadpool(photo_from, data, f"the {name}")
            await run_in_threadpool(photo.save, file)
        if self._complete(order):
            self.workshop.take(order)
        return JSONResponse(self.workshop.shown(order))

    def _complete(self, order: Order) -> bool:
        return all(self.shelf.layer_file(order, layer).exists() for layer in order.layers)

    def _delete(self, order: Order, name: Any, gone: bool) -> None:
        """Delete an order, or by its `name` one picture of it; or have it back."""
        if name is None:
            order.hidden = gone
            self.workshop.cancel(order)
        elif name in (*order.made, REST):
            order.dropped = sorted({*order.dropped, name} if gone else {*order.dropped} - {name})
        else:
            raise KeyError(name)
        self.workshop.tell_order(order)

    async def change_order(self, request: Request) -> Response:
        """Cancel, repeat, delete, restore, or mark a picture of an order."""
        order = self.shelf.orders[request.path_params["id"]]
        verb = request.path_params["verb"]
        if verb == "cancel":
            self.workshop.cancel(order)
        elif verb in ("delete", "restore"):
            self._delete(order, (await _facts(request)).get("name"), verb == "delete")
        elif verb == "again" and order.state in ("stopped", "failed"):
            if not self._complete(order):
                raise Refused(409, "what was drawn for it did not arrive; draw it again.")
            self.workshop.take(order)
        elif verb == "favorite":
            name = str((await _facts(request)).get("name"))
            if name not in order.made:
                raise KeyError(name)
            order.favorites = sorted(set(order.favorites) ^ {name})
            self.workshop.tell_order(order)
        else:
            raise Refused(409, f"{verb[:20]} does not go here.")
        return JSONResponse(self.workshop.shown(order))

    async def picture(self, request: Request) -> Response:
        """A picture of an order; ?as=preview for what browsers show, ?as=download to save."""
        order = self.shelf.orders[request.path_params["id"]]
        name = request.path_params["name"]
        if name not in order.made or not _NAME.fullmatch(name):
            raise KeyError(name)
        file = self.shelf.pictures(order) / name
        how = request.query_params.get("as")
        if how == "preview" and file.suffix == ".tiff":
            return await self._shown(file, preview_of(file), save_preview)
        stem = Path(self.shelf.photos[order.photo].name).stem
        return _file(file, f"{stem}-{order.kind}-{name}" if how == "download" else None)

    # Trainings

    async def add_run(self, request: Request) -> Response:
        """Begin a training."""
        facts = await _facts(request)
        photo = self.shelf.photos[str(facts.get("photo"))]
        settings = _settings(facts)
        flags_of(settings, TRAINING)
        run = RunCard(id=new_id(), photo=photo.id, settings=settings, created=now())
        self.workshop.train(run)
        return JSONResponse(msgspec.to_builtins(run))

    async def estimate(self, request: Request) -> Response:
        """How long a training would take."""
        facts = await _facts(request)
        photo, settings = self.shelf.photos[str(facts.get("photo"))], _settings(facts)
        flags_of(settings, TRAINING)
        return JSONResponse(await self.workshop.estimate(photo.id, settings))

    async def change_run(self, request: Request) -> Response:
        """Pause a training, continue it, delete it or have it back."""
        run = self.shelf.runs[request.path_params["id"]]
        verb = request.path_params["verb"]
        if verb == "pause":
            self.workshop.pause(run)
        elif verb == "continue" and run.state in ("paused", "failed"):
            self.workshop.train(run)
        elif verb in ("delete", "restore"):
            run.hidden = verb == "delete"
            self.workshop.pause(run)
            self.workshop.tell_run(run)
        else:
            raise Refused(409, f"{verb[:20]} does not go here.")
        return JSONResponse(msgspec.to_builtins(run))

    async def draft(self, request: Request) -> Response:
        """What a level of a training has learned."""
        run, name = self.shelf.runs[request.path_params["id"]], request.path_params["name"]
        if not re.fullmatch(r"level-\d{1,2}\.png", name):
            raise KeyError(name)
        return _file(self.shelf.run_folder(run.id) / "previews" / name)


def _file(path: Path, download: str | None = None) -> Response:
    if not path.is_file():
        raise KeyError(path.name)
    return FileResponse(path, filename=download, headers={"cache-control": "max-age=86400"})


async def body_of(request: Request, limit: int) -> bytes:
    """The body of a request; raises `Refused` where it is over `limit` bytes, or too slow."""
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise Refused(413, f"that is over {limit // 1000:,} kB; reduce it first.")
                parts.append(part)
    except TimeoutError:
        raise Refused(408, "that took too long; try again.") from None
    return b"".join(parts)


async def _facts(request: Request) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(await body_of(request, WORDS_LIMIT) or b"{}")
    except (msgspec.DecodeError, RecursionError):
        raise Refused(400, "that is no JSON.") from None
    if not isinstance(found, dict):
        raise Refused(400, "that is no JSON object.")
    return found


def _settings(facts: dict[str, Any]) -> dict[str, Any]:
    found = facts.get("settings", {})
    if not isinstance(found, dict) or len(found) > 20:
        raise ArgumentError("settings are an object of names and values.")
    return {str(name): value for name, value in found.items()}


def _names(found: Any, known: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(found, list) or not set(map(str, found)) <= set(known):
        raise ArgumentError(f"layers are of {', '.join(known) or 'no kind'} here.")
    return tuple(dict.fromkeys(map(str, found)))


def _whole(facts: dict[str, Any], name: str, low: int, high: int) -> int:
    value = facts.get(name, low)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ArgumentError(f"{name} is a whole number from {low} to {high}.")
    return value


def _header(request: Request, name: str) -> str:
    """A header in which letters beyond ASCII are percent-encoded."""
    from urllib.parse import unquote

    return unquote(request.headers.get(name, ""))
