"""A studio in a folder of its own, and clients that come from its page."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from scenes import scene
from singleimage import Channels, Photo
from studio_client import client_of


@pytest.fixture(scope="module")
def photo_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("photo") / "a.png"
    Photo(scene(60, 75), Channels(mode="RGB")).save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One that works, for all tests of a module."""
    with client_of(tmp_path_factory.mktemp("studio") / "s") as client:
        yield client
