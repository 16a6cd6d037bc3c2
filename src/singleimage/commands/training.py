"""Commands that train."""

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from singleimage.commands.arguments import Device, Json, Output, Precision, Whole, read_recipe
from singleimage.console import catch_stop, duration, progress_bars, report, say
from singleimage.errors import OutputError

if TYPE_CHECKING:
    from singleimage.image import Photo
    from singleimage.recipe import Recipe


def train(
    image: Path,
    /,
    *,
    output: Output | None = None,
    preset: str = "preview",
    steps: Whole | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    mask: Annotated[list[Path] | None, Parameter(negative=())] = None,
    seed: Whole = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    embed_image: bool = True,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> int:
    """Learn a photo. The same command continues a run that was stopped.

    Parameters
    ----------
    image
        The photo: JPEG, PNG, WebP, TIFF; gray or color, with or without alpha.
    output
        Folder of the run: model, state, log, previews.
    preset
        consingan, singan (the papers' recipes) or preview (small and short).
    steps
        Steps of each level, in place of the recipe's.
    set_
        A recipe field, as PATH=VALUE; repeatable. --dry-run lists the fields.
    mask
        A mask or label map of the photo's size, learned as one more channel; repeatable.
    seed
        Everything random follows from it.
    embed_image
        Store the training image in the model.
    dry_run
        Print the recipe, the levels, their parameters and an estimate of the time; train nothing.
    """
    from singleimage.image import read_photo
    from singleimage.run import Run

    recipe = read_recipe(preset, steps, set_ or [])
    photo = read_photo(image, masks=mask or [])
    for note in photo.notes:
        say(f"note: {note}")
    if dry_run:
        return _show_plan(recipe, photo, seed, device, precision, as_json)
    if output is None:
        raise OutputError("no folder for the run; add -o RUN.")
    run = Run(
        output,
        recipe,
        photo,
        seed=seed,
        name=image.name,
        device=device,
        precision=precision,
        embed_image=embed_image,
    )
    if run.trainer.finished:
        say(f"{output} is complete.")
    elif run.resumed:
        say(f"continuing {output} at level {run.trainer.level}, step {run.trainer.step}.")
    with closing(run), catch_stop() as stop, progress_bars(quiet=as_json) as show:
        for progress in run:
            show(progress)
            if stop.by is not None:
                run.save()
                break
    if stop.by is not None:
        say(f"stopped; the same command continues {output}.")
        return 128 + stop.by
    summary = {"run": str(output), "model": str(run.model_path), "levels": run.trainer.levels}
    summary["seconds"] = round(run.trainer.seconds, 1)
    text = f"model in {run.model_path}; draw with: singleimage sample {output} -o FOLDER"
    report(summary, text, as_json)
    return 0


def _show_plan(
    recipe: "Recipe",
    photo: "Photo",
    seed: int,
    device: str,
    precision: Precision,
    as_json: bool,
) -> int:
    """What a training would be; every level is tried for a few steps to know its time."""
    import msgspec

    from singleimage.recipe import fields_of
    from singleimage.trainer import plan

    levels = plan(recipe, photo, seed=seed, device=device, precision=precision)
    seconds = sum(level.seconds_per_step for level in levels) * recipe.training.steps
    facts: dict[str, Any] = {
        "recipe": fields_of(recipe),
        "levels": msgspec.to_builtins(levels),
        "generator_parameters": levels[-1].generator_parameters,
        "seconds": round(seconds),
    }
    if as_json:
        print(json.dumps(facts))
        return 0
    for name, value in facts["recipe"].items():
        print(f"{name} = {json.dumps(value)}")
    print("\nlevel       size   generator so far      critic   s/step")
    for i, level in enumerate(levels):
        print(
            f"{i:5} {level.size!s:>10} {level.generator_parameters:18,} "
            f"{level.critic_parameters:11,} {level.seconds_per_step:8.3f}"
        )
    print(f"\n{recipe.training.steps} steps a level: about {duration(seconds)} on this machine")
    return 0
