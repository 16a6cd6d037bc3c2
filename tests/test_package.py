"""What stands beside the package and speaks of it: the container, how to cite, what is promised."""

import json
import re
import shlex
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import singleimage
from singleimage.cli import app
from singleimage.commands.serving import Serving
from test_docs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> dict[str, str]:
    """Of the Dockerfile, the last of each kind; `RUN` are all of them."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            kind, _, rest = line.partition(" ")
            found[kind] = f"{found.get(kind, '')}\n{rest}" if kind == "RUN" else rest
    return found


def test_the_container_runs_a_command_that_there_is() -> None:
    said = instructions()
    assert json.loads(said["ENTRYPOINT"]) == [*PROJECT["scripts"]]
    command, bound, _ = app.parse_args(
        json.loads(said["CMD"]), exit_on_error=False, print_error=False
    )
    assert command.__name__ == "studio"
    assert bound.arguments["output"] == Path()
    assert said["WORKDIR"] == said["VOLUME"]
    serving: Serving = bound.arguments["serving"]
    assert (serving.host, serving.browser) == ("0.0.0.0", False)
    assert serving.port == int(said["EXPOSE"])


def test_the_container_has_what_the_package_asks_for() -> None:
    said = instructions()
    (extras,) = re.findall(r'"\.\[(.*?)\]"', said["RUN"])
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    (torch,) = (need for need in PROJECT["dependencies"] if need.startswith("torch"))
    assert f'"{torch}"' in said["RUN"]
    (python,) = re.findall(r"python:(\d\.\d+)", said["FROM"])
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copies = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), flags=re.M)
    for name in " ".join(copies).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (401, True), (500, False)])
def test_the_container_is_healthy_where_its_page_answers(status: int, healthy: bool) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    said = instructions()
    python, flag, code = json.loads(said["HEALTHCHECK"].partition(" CMD ")[2])
    assert (python, flag) == ("python", "-c")
    assert said["EXPOSE"] in code
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            there = code.replace(said["EXPOSE"], str(server.server_port))
            if healthy:
                exec(there, {})
            else:
                with pytest.raises(AssertionError):
                    exec(there, {})
        finally:
            server.shutdown()
            thread.join()


def test_the_page_of_the_studio_starts_the_container_as_it_is_built() -> None:
    said = instructions()
    lines = (ROOT / "docs" / "studio.md").read_text().splitlines()
    built, begun = (shlex.split(line) for line in lines if line.startswith("docker "))
    assert built[-2:] == [begun[-1], "."]
    ports = begun[begun.index("--publish") + 1]
    assert ports.split(":")[-1] == said["EXPOSE"]
    assert begun[begun.index("--volume") + 1].endswith(f":{said['VOLUME']}")


def test_what_is_cited_is_this_version() -> None:
    cited = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", cited, flags=re.M) == [singleimage.__version__]
    assert re.findall(r"^license: (.*)$", cited, flags=re.M) == [PROJECT["license"]]
