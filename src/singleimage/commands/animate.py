"""`singleimage animate`: make a photo move."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from singleimage.commands.arguments import (
    Device,
    Json,
    Output,
    Overwrite,
    Precision,
    Seed,
    Source,
    Whole,
    load_model,
    target_size,
)
from singleimage.commands.console import catch_stop, counted, print_result, until_stopped

if TYPE_CHECKING:
    from singleimage.images.photo import Photo


def animate(
    source: Source,
    /,
    *,
    output: Output,
    frames: Annotated[Whole, Parameter(name=["--frames", "-n"])] = 100,
    fps: float = 10.0,
    seed: Seed = 0,
    alpha: float = 0.1,
    beta: float = 0.9,
    start_level: Whole = 0,
    loop: Annotated[bool, Parameter(negative=())] = False,
    size: str | None = None,
    scale: float | None = None,
    quality: Whole = 80,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Make a photo move: a movie of a walk through the noise near the one that reproduces it.

    Parameters
    ----------
    output
        The movie: .gif, .webp, or with PyAV (pip install "singleimage[video]") .mp4, .webm.
    frames
        How many.
    fps
        Frames a second.
    seed
        Another seed, another walk.
    alpha
        Pull back to the photo, from 0 to below 1; less wanders further.
    beta
        How much of a change is kept, from 0 to below 1; more is smoother.
    start_level
        Keep the photo's layout below this level and move what is finer; 0 moves everything.
    loop
        The last frame leads back to the first; without it, the movie begins near the photo.
    size
        Size of the frames, as HEIGHTxWIDTH, about a new sample; default: that of the training
        image, about the photo.
    scale
        Size of the frames as a multiple of the training image's.
    quality
        Of WebP and video, 1 to 100.
    """
    from singleimage.images.movie import require_movie, write_movie
    from singleimage.machine.memory import kept_heap
    from singleimage.tools.animate import animate as draw

    require_movie(output, overwrite=overwrite)
    model = load_model(source, device, precision)
    photos = draw(
        model,
        frames=frames,
        seed=seed,
        alpha=alpha,
        beta=beta,
        start_level=start_level,
        size=target_size(model, size, scale),
        loop=loop,
    )
    drawn = 0
    with kept_heap(), catch_stop("frame") as stop, counted(frames, "frames", quiet=as_json) as tell:

        def shown() -> "Iterator[Photo]":
            nonlocal drawn
            for photo in until_stopped(photos, stop):
                drawn += 1
                tell()
                yield photo

        write_movie(output, shown(), fps=fps, quality=quality, overwrite=overwrite)
    facts = {"files": [str(output)], "frames": drawn, "fps": fps}
    print_result(facts, f"{drawn} frames in {output}", as_json)
    return 0 if stop.by is None or drawn == frames else 128 + stop.by
