"""`singleimage studio`: the page where an artist works."""

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from singleimage.commands.arguments import Output, Whole
from singleimage.commands.console import say
from singleimage.errors import ArgumentError, OutputError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from singleimage.studio.shelf import Shelf

MOST = 100
"""Photos of a folder that are opened at most."""


def studio(
    source: Path | None = None,
    /,
    *,
    output: Output = Path("studio"),
    host: str = "127.0.0.1",
    port: Whole = 8321,
    browser: bool = True,
) -> int:
    """Open a page to draw, fill, extend, edit, tile and train on, in the browser of this machine.

    All it makes is kept in a folder, and is there when the studio is opened again.

    Parameters
    ----------
    source
        A photo, or a folder of photos, to begin with.
    output
        Folder of the studio: photos, results, trainings.
    host
        Address to listen on. Another one than this machine's own prints a token to come in with.
    port
        Port to listen on; 0 is any free one.
    browser
        Open the page.
    """
    where = addresses(host, port)
    from singleimage.studio.server import make_app
    from singleimage.studio.shelf import Shelf

    shelf = Shelf(output)
    opened = None if source is None else _opened(shelf, source)
    app = make_app(shelf, hosts=where.hosts, token=where.token, opened=opened)
    serve(app, where, f"studio in {output}", browser=browser)
    return 0


@dataclass(frozen=True)
class Where:
    """Where a server is reached, and by whom."""

    listener: socket.socket
    hosts: tuple[str, ...]
    """Names with the port."""
    token: str | None
    """What clients must know; None: they are on this machine."""
    address: str
    """For a browser."""


def addresses(host: str, port: int) -> Where:
    """Listen on an address.

    Args:
        host: name or number; one that is not this machine's own asks for a token.
        port: 0 is any free one.

    Raises:
        ArgumentError: the port is none, or the server's packages are not installed.
        OutputError: the address is in use, or not this machine's.
    """
    try:
        from singleimage.studio.guard import new_token
    except ImportError:
        raise ArgumentError("the page needs: pip install 'singleimage[studio]'.") from None
    if not 0 <= port <= 65535:
        raise ArgumentError(f"--port {port} is none; use 0 to 65535.")
    listener = _listener(host, port)
    port = listener.getsockname()[1]
    own = _is_own(host)
    token = None if own else new_token()
    names = {host, "localhost", "127.0.0.1", "[::1]"} if own else {host, socket.gethostname()}
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + ("" if token is None else f"?token={token}")
    return Where(listener, tuple(f"{name}:{port}" for name in names), token, address)


def serve(app: "Starlette", where: Where, name: str, *, browser: bool) -> None:
    """Serve an app until Ctrl-C; say its `name` and address, and open the page in a `browser`."""
    import uvicorn

    say(f"{name}: {where.address} (Ctrl-C ends it)")
    if browser and where.token is None:
        import webbrowser

        webbrowser.open(where.address)
    settings = uvicorn.Config(
        app, log_level="critical", timeout_graceful_shutdown=3, server_header=False
    )
    uvicorn.Server(settings).run(sockets=[where.listener])


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)  # a browser that comes before the server is ready waits
    except OSError as error:
        raise OutputError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; use another --port."
        ) from None
    return listener


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _opened(shelf: "Shelf", source: Path) -> str | None:
    """Put photos on the shelf, unless they are there; the id of the first."""
    from singleimage.images.decode import read_bytes
    from singleimage.images.folder import pictures_in
    from singleimage.studio.intake import keep_photo

    first: str | None = None
    for path in pictures_in(source)[:MOST] if source.is_dir() else [source]:
        data = read_bytes(path)
        known = (
            c for c in shelf.photos.values() if shelf.photo_file(c).stat().st_size == len(data)
        )
        same = next((c for c in known if shelf.photo_file(c).read_bytes() == data), None)
        card = same or keep_photo(shelf, data, path.name)
        first = first or card.id
    return first
