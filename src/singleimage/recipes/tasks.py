"""Recipes for a task: functions from recipe to recipe.

Some uses want a model that was trained for them: super-resolution another ratio of levels,
harmonization changed copies of the photo as input.
"""

from collections.abc import Callable

from msgspec.structs import replace

from singleimage.errors import RecipeError
from singleimage.generators.cascade import CascadeSpec
from singleimage.generators.growing import GrowingSpec
from singleimage.generators.patch_vae import PatchVAESpec
from singleimage.multiscale.pyramid import ConSinGANPyramid, SinGANPyramid, upscaling_ratio
from singleimage.nn.decoding import DecodersSpec
from singleimage.nn.patch_critic import CriticSpec
from singleimage.objectives.adversarial import AdversarialSpec
from singleimage.recipes.base_input import AugmentedInput, ShuffledInput
from singleimage.recipes.recipe import Recipe

UNFINISHED = 112
"""Long side of what a network learns that is not finished by the photo's patches, at least."""


def for_task(recipe: Recipe, task: str) -> Recipe:
    """The recipe for `harmonize`, `edit`, `paint`, `animate`, `video`, or `upscale:FACTOR`.

    Raises:
        RecipeError: there is no such task, or the method cannot be trained for it.
    """
    name, _, factor = task.partition(":")
    if name == "upscale":
        try:
            return for_upscaling(recipe, float(factor or 4))
        except ValueError:
            raise RecipeError(f"{factor} is no factor; write upscale:4, for example.") from None
    if task not in TASKS:
        raise RecipeError(f"no task {task!r}; there are {', '.join(TASKS)}, upscale:FACTOR.")
    return TASKS[task](recipe)


def for_harmonizing(recipe: Recipe) -> Recipe:
    """Return `recipe` made to bring pasted objects into the photo's style (ConSinGAN's code).

    SinGAN uses its ordinary model, so its recipe comes back as it is; so does one that finishes
    pictures with the photo's patches, as these do the work.
    """
    if not isinstance(recipe.generator, GrowingSpec) or recipe.finish is not None:
        return recipe
    assert isinstance(recipe.pyramid, ConSinGANPyramid)
    return replace(
        recipe,
        name=f"{recipe.name}-harmonize",
        pyramid=replace(recipe.pyramid, levels=3, min_size=min(120, recipe.pyramid.max_size // 2)),
        generator=replace(recipe.generator, norm="image", edge="zero", slope=0.3),
        critic=replace(_judging_alone(recipe).schedule.critic, slope=0.3),
        phases=_judging_alone(recipe).phases,
        base_input=AugmentedInput(),
        training=recipe.with_steps(min(1000, recipe.schedule.training.steps)).training,
    )


def _judging_alone(recipe: Recipe) -> Recipe:
    """Return `recipe` with a critic that redraws nothing, as Fast-Stabilized's code has it here."""
    critic = recipe.schedule.critic
    if not isinstance(critic, CriticSpec) or critic.decoders == DecodersSpec():
        return recipe
    phases = tuple(
        replace(phase, objective=replace(phase.objective, decoding_weight=0.0))
        for phase in recipe.phases
        if isinstance(phase.objective, AdversarialSpec)
    )
    return replace(recipe, critic=replace(critic, decoders=DecodersSpec()), phases=phases)


def for_editing(recipe: Recipe) -> Recipe:
    """Return `recipe` made to mend photos whose parts were moved (ConSinGAN's code, `editing`).

    There norms take the statistics of the picture that enters, and large changes spoil the colors
    of all of it; here they keep the photo's (`entry_norm`). A recipe that finishes pictures with
    the photo's patches comes back as it is, as these do the work.
    """
    if not isinstance(recipe.generator, GrowingSpec) or recipe.finish is not None:
        return recipe
    return replace(
        recipe,
        name=f"{recipe.name}-edit",
        generator=replace(
            recipe.generator, norm="image", edge="zero", anchor_noise=0.1, entry_norm="photo"
        ),
        critic=_judging_alone(recipe).critic,
        phases=_judging_alone(recipe).phases,
        base_input=ShuffledInput(),
        training=recipe.with_steps(min(1000, recipe.schedule.training.steps)).training,
    )


def for_painting(recipe: Recipe, level: int = 2, colors: int = 5) -> Recipe:
    """Return a recipe made to take flat paint (SinGAN's code, quantized paint-to-image).

    The published code trains the one level anew in a finished model; here all levels are trained
    with it, so that the finer ones know what it makes. ConSinGAN uses its editing model.

    Args:
        recipe: to begin with.
        level: at which paint enters.
        colors: to which the level below is reduced.
    """
    if not isinstance(recipe.generator, CascadeSpec):
        return for_editing(recipe)
    generator = replace(recipe.generator, palette_level=level, palette_colors=colors)
    return replace(recipe, name=f"{recipe.name}-paint", generator=generator)


def for_animating(recipe: Recipe) -> Recipe:
    """Return `recipe` made to walk through noise (SinGAN's code, `animation`; ConSinGAN's mode).

    Copied patches would jump from picture to picture, so a recipe that finishes with them leaves
    that out, and learns a little more detail itself.
    """
    if isinstance(recipe.generator, GrowingSpec):
        pyramid = recipe.pyramid
        assert isinstance(pyramid, ConSinGANPyramid)
        if recipe.finish is not None:
            pyramid = replace(pyramid, levels=5, max_size=max(pyramid.max_size, UNFINISHED))
        return replace(
            recipe,
            name=f"{recipe.name}-animate",
            finish=None,
            pyramid=replace(pyramid, min_size=20),
            generator=replace(recipe.generator, anchor="noise"),
        )
    cascade = isinstance(recipe.generator, CascadeSpec)
    if not cascade or not isinstance(recipe.pyramid, SinGANPyramid):
        return recipe
    return replace(
        recipe,
        name=f"{recipe.name}-animate",
        pyramid=replace(recipe.pyramid, min_size=20),
        generator=replace(recipe.generator, noise_border="drawn"),
    )


def for_video(recipe: Recipe) -> Recipe:
    """Return `recipe` made to learn a clip and draw new ones (HP-VAE-GAN's code for videos).

    Raises:
        RecipeError: the method learns photos alone.
    """
    if not isinstance(recipe.generator, PatchVAESpec):
        raise RecipeError(f"{recipe.name} learns photos alone; use --preset hp-vae-gan for video.")
    return replace(
        recipe,
        name=f"{recipe.name}-video",
        pyramid=replace(recipe.pyramid, strides=(4, 3, 2, 1)),
        generator=replace(recipe.generator, noise_from=recipe.generator.vae_levels),
        critic=replace(recipe.schedule.critic, axes=3),
        training=replace(
            recipe.schedule.training, steps=10 * recipe.schedule.training.steps, batch=1
        ),
    )


def for_upscaling(recipe: Recipe, factor: float) -> Recipe:
    """Return `recipe` with levels related by a root of `factor` (SinGAN, section 4; its code).

    Raises:
        RecipeError: the factor is not over 1 and up to 16, or the method has no such recipe.
    """
    if not 1 < factor <= 16:
        raise RecipeError(f"a factor of {factor:g} is out of range; use one over 1, up to 16.")
    if not isinstance(recipe.pyramid, SinGANPyramid):
        raise RecipeError(
            f"{recipe.name} has no published way to enlarge images; use --preset singan."
        )
    phases = tuple(
        replace(phase, objective=replace(phase.objective, reconstruction_weight=100.0))
        for phase in recipe.phases
    )
    return replace(
        recipe,
        name=f"{recipe.name}-upscale-{factor:g}",
        pyramid=replace(
            recipe.pyramid,
            min_size=18,
            factor=1 / upscaling_ratio(factor),
            counting="down",
            counted_side="width",
        ),
        phases=phases,
    )


TASKS: dict[str, Callable[[Recipe], Recipe]] = {
    "harmonize": for_harmonizing,
    "edit": for_editing,
    "paint": for_painting,
    "animate": for_animating,
    "video": for_video,
}
