"""`singleimage reconstruct`: what a model makes of its anchor noise."""

from typing import Any

from singleimage.commands.arguments import (
    Device,
    Json,
    Output,
    Overwrite,
    Precision,
    Source,
    load_model,
)
from singleimage.commands.console import print_result


def reconstruct(
    source: Source,
    /,
    *,
    output: Output,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Write the picture a model makes of its anchor noise: how well it knows its photo.

    Parameters
    ----------
    output
        The image file to write; of a model of a clip, the GIF, WebP, MP4 or WebM.
    """
    from singleimage.images.movie import require_movie

    model = load_model(source, device, precision, moving=True)
    if model.generator.ladder.moving:
        require_movie(output, overwrite=overwrite)
    else:
        model.channels.require_file(output, overwrite=overwrite)
    picture = model.reconstruct()
    files = picture.save(output, overwrite=overwrite)
    summary: dict[str, Any] = {"files": list(map(str, files))}
    photo = model.training_image()
    text = f"reconstruction in {output}"
    if photo is not None:
        error = float((picture.pixels - photo.pixels).square().mean())
        summary["mse"] = error
        text += f"; mean squared error {error:.5f} in [-1, 1]"
    print_result(summary, text, as_json)
    return 0
