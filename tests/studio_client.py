"""Clients of a studio that come from its own page."""

from pathlib import Path

from starlette.testclient import TestClient

from singleimage.studio.server import make_app
from singleimage.studio.shelf import Shelf

HOST = "127.0.0.1:8321"
OURS = {"x-studio": "1"}


def client_of(folder: Path, token: str | None = None) -> TestClient:
    app = make_app(Shelf(folder), hosts=frozenset({HOST}), token=token)
    return TestClient(app, base_url=f"http://{HOST}", headers=OURS)
