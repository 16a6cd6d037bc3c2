"""`singleimage apply`: rearrange an image as a picture of another was."""

from pathlib import Path

from singleimage.commands.arguments import Json, Output, Overwrite, read_told
from singleimage.commands.console import print_result
from singleimage.errors import ImageError


def apply(
    rearrangement: Path,
    picture: Path,
    /,
    *,
    output: Output,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> int:
    """Rearrange an image as sample --map rearranged its photo: normals, heights, labels of a scene.

    Parameters
    ----------
    rearrangement
        What sample --map wrote, 16 bits.
    picture
        The image to rearrange; best of the size of the photo the map tells of.
    output
        The image file to write.
    """
    from singleimage.images.photo import Photo
    from singleimage.images.reader import read_photo
    from singleimage.images.rearrangement import Rearrangement
    from singleimage.images.values import from_integers

    colors, photo = read_photo(rearrangement), read_told(picture)
    if colors.channels.mode != "RGB" or colors.channels.bits != 16:
        raise ImageError(
            f"{rearrangement} is no map; make one with: singleimage sample PHOTO --map -o FOLDER"
        )
    photo.channels.require_file(output, overwrite=overwrite)
    assert colors.original is not None  # it was read
    how = Rearrangement.read(from_integers(colors.original.values), photo.size)
    files = Photo(how.applied(photo.pixels), photo.channels).save(output, overwrite=overwrite)
    print_result({"files": list(map(str, files))}, f"rearranged in {output}", as_json)
    return 0
