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

    Its numbers are only moved: no color is converted, and the indices of a palette stay.

    Parameters
    ----------
    rearrangement
        What sample --map wrote, 16 bits.
    picture
        The image to rearrange; best of the size of the photo the map tells of.
    output
        The image file to write.
    """
    from singleimage.images.encode import write_indices, write_picture
    from singleimage.images.reader import palette_indices, read_photo
    from singleimage.images.rearrangement import Rearrangement
    from singleimage.images.values import from_integers

    colors, photo = read_photo(rearrangement), read_told(picture)
    if colors.channels.mode != "RGB" or colors.channels.bits != 16:
        raise ImageError(
            f"{rearrangement} is no map; make one with: singleimage sample PHOTO --map -o FOLDER"
        )
    photo.channels.require_file(output, overwrite=overwrite)
    assert colors.original is not None  # they were read
    assert photo.original is not None
    how = Rearrangement.read(from_integers(colors.original.values), photo.size)
    found = palette_indices(picture) if output.suffix.lower() == ".png" else None
    if found is not None:
        indices, palette = found
        write_indices(output, how.moved(indices)[..., 0], palette)
    else:
        values, about = how.moved(photo.original.values), photo.original.about
        write_picture(output, values, mode=photo.channels.mode, about=about)
    print_result({"files": [str(output)]}, f"rearranged in {output}", as_json)
    return 0
