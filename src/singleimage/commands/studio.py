"""`singleimage studio`: the page where an artist works."""

from pathlib import Path
from typing import TYPE_CHECKING

from singleimage.commands.arguments import Output
from singleimage.commands.serving import Serving, Where, require_packages

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
    serving: Serving = Serving(),  # noqa: B008, it is frozen
) -> int:
    """Open a page to draw, fill, extend, edit, tile and train on, in the browser of this machine.

    All it makes is kept in a folder, and is there when the studio is opened again.

    Parameters
    ----------
    source
        A photo, or a folder of photos, to begin with.
    output
        Folder of the studio: photos, results, trainings.
    """
    require_packages()
    from singleimage.machine.files import make_folder
    from singleimage.machine.lock import claimed
    from singleimage.studio.server import make_app
    from singleimage.studio.shelf import Shelf

    with claimed(make_folder(output)):  # another studio there would end our trainings
        shelf = Shelf(output.absolute())  # commands that are shown work in any folder
        opened = None if source is None else _opened(shelf, source)

        def app(where: Where) -> "Starlette":
            return make_app(shelf, hosts=where.hosts, token=where.token, opened=opened)

        serving.serve(app, f"studio in {output}")
    return 0


def _opened(shelf: "Shelf", source: Path) -> str | None:
    """Put photos on the shelf, unless they are there; the id of the first."""
    from singleimage.images.decode import read_bytes
    from singleimage.images.folder import pictures_in
    from singleimage.studio.intake import keep_photo

    first: str | None = None
    for path in pictures_in(source)[:MOST] if source.is_dir() else [source]:
        data = read_bytes(path)
        same = (c for c in shelf.photos.values() if _holds(shelf.photo_file(c), data))
        card = next(same, None) or keep_photo(shelf, data, path.name)
        first = first or card.id
    return first


def _holds(file: Path, data: bytes) -> bool:
    """Whether a `file` is there and holds the `data`."""
    return file.is_file() and file.stat().st_size == len(data) and file.read_bytes() == data
