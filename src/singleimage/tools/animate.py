"""Animate: frames of a walk through the noise near the one that reproduces the photo."""

from collections.abc import Iterator

from singleimage.apps import animate as app
from singleimage.images.photo import Photo
from singleimage.models.model import Model
from singleimage.multiscale.geometry import Size
from singleimage.tools.channels import photo_of


def animate(
    model: Model,
    *,
    frames: int = 100,
    seed: int = 0,
    alpha: float = 0.1,
    beta: float = 0.9,
    start_level: int = 0,
    size: tuple[int, int] | None = None,
    loop: bool = False,
) -> Iterator[Photo]:
    """Make a photo move (SinGAN, section 4 and its supplementary).

    `images.movie.write_movie` writes the frames to a file.

    Args:
        model: of the photo; best trained with `for_animating`.
        frames: how many, 1 or more.
        seed: another seed, another walk.
        alpha: pull back to the photo, from 0 to below 1; less wanders further.
        beta: how much of a change is kept, from 0 to below 1; more is smoother.
        start_level: levels below it keep the photo's layout; 0 moves everything.
        size: (height, width) of the frames, about a new sample; None: that of the training image,
            about the photo.
        loop: the last frame leads back to the first; else the movie begins near the photo.

    Returns:
        The frames, drawn one by one as they are asked for.

    Raises:
        ArgumentError: a number is out of range, or there is no such level.
        SizeError: `size` is too small for the pyramid.
        UnsupportedEntry: the model is one of a clip.
    """
    images = app.animate(
        model.generator,
        frames=frames,
        seed=seed,
        alpha=alpha,
        beta=beta,
        start_level=start_level,
        size=Size(*size) if size else None,
        seamless=loop,
        first_step=getattr(model.recipe.generator, "walk_step", app.FIRST_STEP),
    )
    return (photo_of(model, image[None].float().cpu()) for image in images)
