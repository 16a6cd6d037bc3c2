"""`singleimage apply`: rearrange an image as a picture of another was."""

from pathlib import Path

from singleimage.commands.arguments import Json, Output, Overwrite, tell_lost
from singleimage.commands.console import print_result, say
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
    from singleimage.images.channels import Channels
    from singleimage.images.decode import decode, read_bytes
    from singleimage.images.encode import write_indices, write_picture
    from singleimage.images.reader import read_photo
    from singleimage.images.rearrangement import Rearrangement
    from singleimage.images.values import MODE_CHANNELS, from_integers
    from singleimage.multiscale.geometry import Size

    colors = read_photo(rearrangement)
    if colors.channels.mode != "RGB" or colors.channels.bits != 16:
        raise ImageError(
            f"{rearrangement} is no map; make one with: singleimage sample PHOTO --map -o FOLDER"
        )
    png = output.suffix.lower() == ".png"  # which may have a palette
    found = decode(picture, read_bytes(picture), indices=png)
    for note in found.notes:
        say(f"note: {note}")
    height, width, count = found.values.shape
    channels = Channels(
        mode=found.mode,
        bits=16 if found.values.itemsize == 2 else 8,
        bands=count - MODE_CHANNELS[found.mode],
    )
    channels.require_file(output, overwrite=overwrite)
    assert colors.original is not None  # it was read
    how = Rearrangement.read(from_integers(colors.original.values), Size(height, width))
    values = how.moved(found.values)
    if found.palette:
        write_indices(
            output, values[..., 0], found.palette, opacity=found.opacity, about=found.about
        )
    else:
        write_picture(output, values, mode=found.mode, about=found.about)
        tell_lost(found.about, output)
    print_result({"files": [str(output)]}, f"rearranged in {output}", as_json)
    return 0
