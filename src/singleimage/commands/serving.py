"""What commands with a page share: where it is served, to whom, and until when."""

import ipaddress
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cyclopts import Parameter

from singleimage.commands.arguments import Whole
from singleimage.commands.console import say
from singleimage.errors import ArgumentError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.applications import Starlette


def require_packages() -> None:
    """Raise `ArgumentError` unless the packages of a server are installed."""
    if not all(find_spec(name) for name in ("starlette", "uvicorn")):
        raise ArgumentError('the page needs: pip install "singleimage[studio]".')


@dataclass(frozen=True)
class Where:
    """Where a server is reached, and by whom."""

    listener: socket.socket
    hosts: frozenset[str] | None
    """Names with the port; None: any, of clients that know the token."""
    token: str | None
    """What clients must know; None: they are on this machine."""
    address: str
    """For a browser."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Serving:
    """Where a page is served."""

    host: str = "127.0.0.1"
    """Address to listen on. Another one than this machine's own prints a token to come in with."""
    port: Whole = 8321
    """Port to listen on; 0 is any free one."""
    browser: bool = True
    """Open the page."""

    def opened(self) -> Where:
        """Listen on the address.

        Raises:
            ArgumentError: the port is none.
            OutputError: the address is in use, or not this machine's.
        """
        from singleimage.studio.guard import new_token

        if not 0 <= self.port <= 65535:
            raise ArgumentError(f"--port {self.port} is none; use 0 to 65535.")
        listener = self._listener()
        port = listener.getsockname()[1]
        if _is_own(self.host):
            shown = f"[{self.host}]" if ":" in self.host else self.host
            names = (shown, "localhost", "127.0.0.1", "[::1]")
            hosts = frozenset(f"{name}:{port}" for name in names)
            if port == 80:  # which browsers leave out
                hosts |= frozenset(names)
            return Where(listener, hosts, None, f"http://{shown}:{port}/")
        token, name = new_token(), self.host
        if _is_any(name):
            name = socket.gethostname()
        shown = f"[{name}]" if ":" in name else name
        return Where(listener, None, token, f"http://{shown}:{port}/?token={token}")

    def serve(self, make: "Callable[[Where], Starlette]", name: str) -> None:
        """Serve an app until Ctrl-C, and show it in a browser.

        Args:
            make: the app, given where it is served.
            name: of it, for people.
        """
        import uvicorn

        where = self.opened()
        app = make(where)
        say(f"{name}: {where.address} (Ctrl-C ends it)")
        if self.browser and where.token is None:
            import webbrowser

            webbrowser.open(where.address)
        settings = uvicorn.Config(
            app, log_level="critical", timeout_graceful_shutdown=3, server_header=False
        )
        uvicorn.Server(settings).run(sockets=[where.listener])

    def _listener(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        # On Windows, with SO_REUSEADDR two servers would share a port.
        option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            listener.bind((self.host, self.port))
            listener.listen(128)  # a browser that comes before the server is ready waits
        except OSError as error:
            listener.close()
            raise OutputError(
                f"cannot listen on {self.host}:{self.port}: {error.strerror or error}; use another "
                f"--port, or an address of this machine."
            ) from None
        return listener


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
