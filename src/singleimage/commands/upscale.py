"""`singleimage upscale`: super-resolution, and how it compares with the truth."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from singleimage.commands.arguments import Source, load_model, read_told, tell_lost
from singleimage.commands.console import print_result
from singleimage.commands.tool import ResultFile

Enlarged = Annotated[Path | None, Parameter(help="What to enlarge. Default: the training image.")]


def upscale(
    source: Source,
    picture: Enlarged = None,
    /,
    *,
    factor: float = 4.0,
    strength: float | None = None,
    consistent: bool = True,
    truth: Path | None = None,
    result: ResultFile,
) -> int:
    """Enlarge the photo, or one like it, with its own textures (super-resolution).

    Parameters
    ----------
    factor
        Over 1, up to 16; a model trained with --for upscale:FACTOR does best.
    strength
        Share of the change that is kept, 0 to 1 (as published). Default: 0.7; of a photo 1.
    consistent
        Correct the result until it reduces to the photo again; --no-consistent is as published.
    truth
        The picture as it should be: PSNR and SSIM of the result and of bicubic enlargement are
        told.
    """
    from singleimage.multiscale.geometry import Size
    from singleimage.tools.channels import given_channels, worked_on
    from singleimage.tools.upscale import compare_upscaled, require_truth
    from singleimage.tools.upscale import upscale as enlarge

    photo = None if picture is None else read_told(picture)
    known = None if truth is None else read_told(truth)
    model = load_model(source, result.device, result.precision, variety=result.variety)
    channels = given_channels(model, worked_on(model, photo))
    channels.require_file(result.output, overwrite=result.overwrite)
    if known is not None and 1 < factor <= 16:  # before the work
        here = model.size if photo is None else photo.size
        require_truth(known, Size(*(int(side * factor) for side in here)))
    (image,) = enlarge(
        model,
        photo,
        factor=factor,
        strength=strength,
        consistent=consistent,
        seeds=[result.seed],
    )
    files = image.save(result.output, overwrite=result.overwrite)
    tell_lost(image.about, result.output)
    facts: dict[str, Any] = {"files": list(map(str, files)), "size": list(image.size)}
    text = f"{image.size} in {result.output}"
    if known is not None:
        facts |= compare_upscaled(model, factor, image, known, picture=photo)
        text += "".join(f"\n{name} {value:.3f}" for name, value in facts.items() if "_" in name)
    print_result(facts, text, result.as_json)
    return 0
