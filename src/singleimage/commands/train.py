"""`singleimage train`: learn a photo, a folder of photos or a clip."""

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from singleimage.commands.arguments import Device, Json, Output, Precision, Seed, Whole, read_recipe
from singleimage.commands.console import catch_stop, duration, print_result, progress_bars, say
from singleimage.commands.place import Place, names_of, refuse
from singleimage.errors import ImageError, OutputError

if TYPE_CHECKING:
    from singleimage.images.decoded import Notes
    from singleimage.images.photo import Photo
    from singleimage.jobs.engine import Engine, Event
    from singleimage.recipes.recipe import Recipe
    from singleimage.training.makers import Maker


def train(
    image: Path,
    /,
    *,
    output: Output | None = None,
    preset: str = "quick",
    task: Annotated[str | None, Parameter(name="--for")] = None,
    steps: Whole | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    mask: Annotated[list[Path] | None, Parameter(negative=())] = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    embed_image: bool = True,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    each: Annotated[bool, Parameter(negative=())] = False,
    place: Place = Place(),  # noqa: B008
    as_json: Json = False,
) -> int:
    """Learn a photo, or a folder of photos. The same command continues what was stopped.

    Parameters
    ----------
    image
        The photo: JPEG, PNG, WebP, TIFF; gray or color, with or without alpha. With --each, or for
        the preset meta or meta-small, a folder of photos. With --for video a GIF, a WebP, a video
        or a folder of frames.
    output
        Folder of the run: model, state, log, previews. With --each the folder of all runs, each
        named after its photo.
    preset
        consingan, fast-stabilized, hp-vae-gan, singan (the papers' recipes), quick (layout by a
        small network, detail by the photo's patches), preview (small and short, all by a network),
        or a hypernetwork for many photos: meta (the paper's), meta-single (of one
        photo), meta-small.
    task
        What it is for: harmonize, edit, paint, animate, upscale:FACTOR, or for hp-vae-gan video;
        default: to sample.
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
    each
        Learn every photo of the folder IMAGE, one model each, several at a time.
    """
    from singleimage.training.makers import maker_for

    recipe = read_recipe(preset, steps, set_ or [], task)
    if each:
        odd = {"--mask": mask, "--dry-run": dry_run, "--no-embed-image": not embed_image}
        odd["--for video"] = recipe.learns_clips
        refuse([flag for flag, given in odd.items() if given], "does not go with --each")
        engine, threads = place.engine(device)
        options = _JobOptions(recipe, seed, device, precision, threads)
        return _train_each(image, output, options, engine, as_json)
    place.refuse()
    photos, notes = _read(image, mask or [], recipe, device)
    if dry_run:
        return _show_plan(photos, recipe, seed, device, precision, as_json)
    maker = maker_for(
        _given(output, "run"),
        photos,
        recipe,
        seed=seed,
        name=image.name,
        device=device,
        precision=precision,
        embed_image=embed_image,
    )
    _tell(notes)
    return make(maker, as_json)


def _read(
    image: Path, masks: "Sequence[Path]", recipe: "Recipe", device: str
) -> "tuple[Sequence[Photo], Notes]":
    """The photo, all photos of a folder, or the clip; and what was changed in reading."""
    from singleimage.images.clip import read_clip
    from singleimage.images.folder import read_album
    from singleimage.images.reader import read_photo
    from singleimage.machine.device import use_device
    from singleimage.machine.processes import join

    join(use_device(device))
    if recipe.learns_clips:
        refuse(["--mask"] if masks else [], "does not go with a clip")
        clip = read_clip(image)
        return [clip], clip.notes
    if not image.is_dir():
        photo = read_photo(image, masks=masks)
        return [photo], photo.notes
    if not recipe.learns_several:
        raise ImageError(
            f"{image} is a folder; add --each to learn every photo in it, or --preset meta-small "
            f"for one model of all."
        )
    refuse(["--mask"] if masks else [], "does not go with a folder of photos")
    album = read_album(image, crop=not recipe.stretches)
    return album, album.notes


def _given(output: Path | None, what: str) -> Path:
    """The folder for `what`."""
    if output is None:
        raise OutputError(f"no folder for the {what}; add -o {what.upper()}.")
    return output


def _tell(notes: "Notes") -> None:
    """What was changed in reading; one of several processes says it."""
    from singleimage.machine.processes import leading

    for note in notes if leading() else ():
        say(f"note: {note}")


def make(maker: "Maker", as_json: bool) -> int:
    """Make the model, show how it goes, and stop when asked to."""
    from singleimage.machine.processes import anywhere, leading, leave

    first = leading()
    quiet = as_json or not first
    if maker.finished and first:
        say(f"{maker.folder} is complete.")
    elif maker.resumed and first:
        level, _, step = maker.position
        say(f"continuing {maker.folder} at level {level}, step {step}.")
    stopped = False
    with catch_stop() as stop, progress_bars(quiet=quiet) as show:
        for progress in maker:
            show(progress)
            if stopped := anywhere(stop.by is not None) and not maker.finished:
                maker.save()
                break
    leave()
    if stopped:
        if first:
            say(f"stopped; the same command continues {maker.folder}.")
        return 128 + (stop.by or signal.SIGTERM)
    if not first:
        return 0
    facts: dict[str, Any] = {
        "run": str(maker.folder),
        "model": str(maker.model_path),
        "levels": maker.levels,
        "seconds": round(maker.seconds, 1),
    }
    text = f"model in {maker.model_path}; draw with: singleimage sample {maker.folder} -o FOLDER"
    if maker.photos > 1:
        text = f"{maker.model_path}; go on with: singleimage model {maker.folder} PHOTO -o MODEL"
    print_result(facts, text, as_json)
    return 0


@dataclass(frozen=True)
class _JobOptions:
    """What all jobs of `train --each` have in common."""

    recipe: "Recipe"
    seed: int
    device: str
    precision: Precision
    threads: int


def _train_each(
    folder: Path, output: Path | None, options: _JobOptions, engine: "Engine", as_json: bool
) -> int:
    """A run for each photo of a folder, in `output`."""
    from singleimage.commands.job_view import Halted, show_events, tell_failures
    from singleimage.images.folder import pictures_in, skipped_in
    from singleimage.jobs.job import Job

    photos = pictures_in(folder)
    for line in skipped_in(folder):
        say(f"note: {line}")
    output = _given(output, "runs")
    names = names_of(photos)
    for name in names:
        if (output / name).is_file():
            raise OutputError(f"{output / name} is a file where a run would be; use another -o.")
    jobs = [
        Job(
            name=name,
            method=options.recipe.name,
            photo=str(photo.absolute()),
            seed=options.seed,
            recipe=options.recipe,
            device=options.device,
            precision=options.precision,
            threads=options.threads,
        )
        for name, photo in zip(names, photos, strict=True)
    ]
    try:
        ended = show_events(engine.run(jobs, output), len(jobs), quiet=as_json)
    except Halted as halted:
        return halted.code
    code = tell_failures(ended)
    facts, good = _outcomes(ended, output)
    print_result(facts, f"{good} of {len(jobs)} models in {output}", as_json)
    return code


def _outcomes(ended: "Sequence[Event]", output: Path) -> tuple[dict[str, Any], int]:
    """What the command tells as JSON, and how many jobs are done."""
    failed = [{"job": e.job, "reason": e.text} for e in ended if e.state == "failed"]
    runs = [str(output / e.job) for e in ended if e.state != "failed"]
    return {"runs": runs, "failed": failed}, len(runs)


def _show_plan(
    photos: "Sequence[Photo]",
    recipe: "Recipe",
    seed: int,
    device: str,
    precision: Precision,
    as_json: bool,
) -> int:
    """What a training would be; every level is tried for a few steps to know its time."""
    import msgspec

    from singleimage.recipes.overrides import fields_of
    from singleimage.training.planning import plan_training, refuse_beyond

    levels = plan_training(photos, recipe, seed=seed, device=device, precision=precision)
    refuse_beyond(levels, recipe)
    seconds = sum(level.seconds_per_step * level.steps for level in levels)
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
    print("\nlevel       size   generator so far      critic   s/step   GB")
    for i, level in enumerate(levels):
        print(
            f"{i:5} {level.text:>10} {level.generator_parameters:18,} "
            f"{level.critic_parameters:11,} {level.seconds_per_step:8.3f} "
            f"{'' if level.bytes is None else f'{level.bytes / 1e9:4.1f}'}"
        )
    steps = ", ".join(map(str, dict.fromkeys(level.steps for level in levels)))
    print(f"\n{steps} steps a level: about {duration(seconds)} on this machine")
    return 0
