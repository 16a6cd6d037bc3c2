"""The page of a user study."""

import io
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from singleimage.errors import SingleImageError
from singleimage.images.reader import read_photo
from singleimage.studio.guard import Guard, cookie_of
from singleimage.studio.server import PAGE, Refused, body_of, in_words, missing, refused
from singleimage.studio.study import Answer, Participants

SHOWN_SIDE = 800
"""Long side of a picture at most, pixels."""
ANSWER_LIMIT = 10_000
"""Bytes of an answer."""


def make_study_app(
    participants: Participants, *, hosts: frozenset[str] | None, token: str | None = None
) -> Starlette:
    """The study as an ASGI application.

    Args:
        participants: who take part in it.
        hosts, token: as for the studio.
    """
    study = participants.study

    async def page(request: Request) -> Response:
        response = FileResponse(PAGE / "study.html", headers={"cache-control": "no-store"})
        if token is not None:
            name = cookie_of(request.headers)
            response.set_cookie(name, token, httponly=True, samesite="strict")
        return response

    async def begin(request: Request) -> Response:
        key = await run_in_threadpool(participants.begin)
        return JSONResponse(_facts(key))

    async def again(request: Request) -> Response:
        return JSONResponse(_facts(request.path_params["id"]))

    def _facts(key: str) -> dict[str, object]:
        trials = participants.trials(key)
        return {
            "id": key,
            "kind": study.kind,
            "seconds": study.seconds,
            "trials": len(trials),
            "answered": participants.answered(key),
        }

    async def answer(request: Request) -> Response:
        data = await body_of(request, ANSWER_LIMIT)
        try:
            found = msgspec.json.decode(data, type=Answer)
        except msgspec.DecodeError:
            raise Refused(400, "that is no answer.") from None
        await run_in_threadpool(participants.answer, request.path_params["id"], found)
        return JSONResponse(_facts(request.path_params["id"]))

    async def picture(request: Request) -> Response:
        facts = request.path_params
        trials = participants.trials(facts["id"])
        if not facts["trial"] < len(trials) or not facts["side"] < len(
            trials[facts["trial"]].pictures
        ):
            raise KeyError
        path = trials[facts["trial"]].pictures[facts["side"]]
        data = await run_in_threadpool(_shown, path)
        return Response(data, media_type="image/png", headers={"cache-control": "no-store"})

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/study", begin, methods=["POST"]),
            Route("/api/study/{id}", again),
            Route("/api/study/{id}/answers", answer, methods=["POST"]),
            Route("/api/study/{id}/pictures/{trial:int}/{side:int}", picture),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        middleware=[Middleware(Guard, hosts=hosts, token=token)],
        exception_handlers={Refused: refused, SingleImageError: in_words, KeyError: missing},
    )


@lru_cache(256)
def _shown(path: str) -> bytes:
    """A picture as PNG, so that neither name nor format tells; noise for a check."""
    if path:
        shown = read_photo(Path(path)).preview(SHOWN_SIDE)
    else:
        values = np.random.default_rng(0).integers(0, 256, (190, 250, 3))
        shown = Image.fromarray(values.astype(np.uint8))
    stream = io.BytesIO()
    shown.save(stream, "PNG")
    return stream.getvalue()
