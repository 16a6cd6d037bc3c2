"""Pages are served on this machine, or to those who have a token."""

import socket
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from scenes import scene
from singleimage import Channels, Photo
from singleimage.commands.serving import Serving, Where
from singleimage.errors import ArgumentError, OutputError
from singleimage.machine.lock import claimed
from singleimage.studio.server import make_app
from singleimage.studio.shelf import Shelf
from tiny import Command


def test_this_machine_needs_no_token_and_others_do() -> None:
    for host in ("127.0.0.1", "localhost"):
        where = Serving(host=host, port=0).opened()
        port = where.listener.getsockname()[1]
        assert where.token is None
        assert where.hosts is not None
        assert {f"{host}:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"} <= where.hosts
        assert host not in where.hosts
        assert where.address == f"http://{host}:{port}/"
        where.listener.close()
    where = Serving(host="0.0.0.0", port=0).opened()
    assert where.hosts is None
    assert where.token
    assert where.address.endswith(f"/?token={where.token}")
    assert socket.gethostname() in where.address
    where.listener.close()


def test_the_usual_port_may_be_left_out_as_browsers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listener:
        def getsockname(self) -> tuple[str, int]:
            return "127.0.0.1", 80

    monkeypatch.setattr(Serving, "_listener", lambda self: Listener())
    where = Serving(port=80).opened()
    app = make_app(Shelf(tmp_path / "s"), hosts=where.hosts)
    for host, status in (("localhost", 200), ("127.0.0.1:80", 200), ("evil.example", 421)):
        page = TestClient(app, headers={"host": host, "origin": f"http://{host}"})
        assert page.get("/api/state").status_code == status


def test_where_it_cannot_listen_is_said_in_a_line() -> None:
    with pytest.raises(ArgumentError, match="--port 70000 is none; use 0 to 65535"):
        Serving(port=70000).opened()
    taken = Serving(port=0).opened()
    port = taken.listener.getsockname()[1]
    with pytest.raises(OutputError, match=f"cannot listen on 127.0.0.1:{port}: .*another --port"):
        Serving(port=port).opened()
    taken.listener.close()
    with pytest.raises(OutputError, match="or an address of this machine"):
        Serving(host="203.0.113.7", port=0).opened()


@pytest.mark.parametrize("browser", [True, False])
def test_the_page_is_opened_unless_told_otherwise(
    browser: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("webbrowser.open", seen.append)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    found: list[Where] = []
    Serving(port=0, browser=browser).serve(found.append, "studio")  # type: ignore[arg-type]
    (where,) = found
    assert seen == [where.address] * browser
    assert where.address in capsys.readouterr().err
    where.listener.close()


def test_what_is_missing_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleimage.commands.serving.find_spec", lambda name: None)
    for line in ("studio", "study a b -o c"):
        done = command(line)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert 'pip install "singleimage[studio]"' in done.err


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The apps that commands would serve, with where."""
    found: list[Any] = []

    def serve(self: Serving, make: Any, name: str) -> None:
        where = self.opened()
        found.append((make(where), where))
        where.listener.close()

    monkeypatch.setattr(Serving, "serve", serve)
    return found


def state(served: list[Any]) -> Any:
    app, where = served[-1]
    return TestClient(app, base_url=where.address).get("/api/state").json()


def test_a_studio_begins_with_a_photo_or_a_folder_and_takes_none_twice(
    tmp_path: Path, command: Command, served: list[Any]
) -> None:
    for i in range(2):
        (tmp_path / "in").mkdir(exist_ok=True)
        Photo(scene(40, 50 + i), Channels(mode="RGB")).save(tmp_path / "in" / f"{i}.png")
    line = f"-o {tmp_path}/s --port 0 --no-browser"
    assert command(f"studio {tmp_path}/in/1.png {line}").code == 0
    one = state(served)
    assert [card["name"] for card in one["photos"]] == ["1.png"]
    assert one["opened"] == one["photos"][0]["id"]
    assert command(f"studio {tmp_path}/in {line}").code == 0
    both = state(served)
    assert sorted(card["name"] for card in both["photos"]) == ["0.png", "1.png"]
    assert command(f"studio {line}").code == 0
    assert state(served)["opened"] is None
    done = command(f"studio {tmp_path}/no.png {line}")
    assert (done.code, done.err.count("\n")) == (2, 1)
    (lost,) = (tmp_path / "s").glob(f"photos/{one['opened']}/photo.png")
    lost.unlink()
    assert command(f"studio {tmp_path}/in/1.png {line}").code == 0
    assert state(served)["opened"] not in {card["id"] for card in both["photos"]}
    with claimed(tmp_path / "s"):
        done = command(f"studio {line}")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "is in use by another process" in done.err


def test_a_study_is_asked_as_it_was_told(
    tmp_path: Path, command: Command, served: list[Any]
) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Photo(scene(40, 50), Channels(mode="RGB")).save(tmp_path / name / f"{i}.png")
    folders = f"{tmp_path}/ours {tmp_path}/theirs -o {tmp_path}/s --port 0 --no-browser"
    line = f"study {folders} --kind paired --trials 6 --seconds 2 --seed 3"
    assert command(line).code == 0
    app, where = served[-1]
    client = TestClient(app, base_url=where.address, headers={"x-studio": "1"})
    facts = client.post("/api/study").json()
    assert (facts["kind"], facts["trials"], facts["seconds"]) == ("paired", 7, 2.0)
    assert command(line).code == 0
    done = command(line.replace("--seed 3", "--seed 4"))
    assert "holds another study" in done.err
    assert "--trials are 2 to 1000" in command(line.replace("--trials 6", "--trials 1")).err


def test_windows_shares_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, SO_REUSEADDR would let a second server take the port of the first."""
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)
    with Serving(port=0).opened().listener as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
