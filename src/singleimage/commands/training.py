"""Commands that train."""

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from singleimage.commands.arguments import Device, Json, Output, Precision, Whole, read_recipe
from singleimage.commands.working import Place, names_of, refuse
from singleimage.console import catch_stop, duration, progress_bars, report, say
from singleimage.errors import ImageError, OutputError

if TYPE_CHECKING:
    from singleimage.engines import Engine, Event
    from singleimage.image import Photo
    from singleimage.recipe import Recipe
    from singleimage.run import Run


def train(
    image: Path,
    /,
    *,
    output: Output | None = None,
    preset: str = "preview",
    task: Annotated[str | None, Parameter(name="--for")] = None,
    steps: Whole | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    mask: Annotated[list[Path] | None, Parameter(negative=())] = None,
    seed: Whole = 0,
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
        consingan, fast-stabilized, hp-vae-gan, singan (the papers' recipes), preview (small and
        short), or a hypernetwork for many photos: meta (the paper's), meta-single (of one photo),
        meta-small.
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
    from singleimage.run import Run

    recipe = read_recipe(preset, steps, set_ or [], task)
    if each:
        odd = {"--mask": mask, "--dry-run": dry_run, "--no-embed-image": not embed_image}
        odd["--for video"] = recipe.learns_clips
        refuse([flag for flag, given in odd.items() if given], "does not go with --each")
        engine, threads = place.engine(device)
        form = _Form(recipe, seed, device, precision, threads)
        return _train_each(image, output, form, engine, as_json)
    place.refuse()
    photos = _read(image, mask or [], recipe, device)
    if dry_run:
        return _show_plan(recipe, photos, seed, device, precision, as_json)
    if output is None:
        raise OutputError("no folder for the run; add -o RUN.")
    run = Run(
        output,
        recipe,
        photos,
        seed=seed,
        name=image.name,
        device=device,
        precision=precision,
        embed_image=embed_image,
    )
    _tell_notes(photos)
    return train_run(run, as_json)


def tune(
    source: Path,
    photo: Path,
    picture: Path,
    /,
    *,
    output: Output,
    steps: Whole = 500,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Train the finest level of a finished run on, for one changed picture of its photo.

    ConSinGAN's fine-tuning: the harmonized or edited picture comes out better, and it is for that
    picture alone. The same command continues what was stopped.

    Parameters
    ----------
    source
        Folder of the run, trained with --for harmonize or --for edit.
    photo
        The photo it was trained on.
    picture
        The photo with something pasted in, or with parts moved.
    output
        Folder of the new run.
    steps
        How long.
    """
    from msgspec.structs import replace

    from singleimage.image import read_photo
    from singleimage.retouch import laid_over
    from singleimage.run import Identity, Run, Tuning

    start = Identity.read(source)
    learned = read_photo(photo)
    run = Run(
        output,
        replace(start.recipe, training=replace(start.recipe.training, steps=steps)),
        learned,
        seed=start.seed,
        name=start.image,
        device=device,
        precision=start.precision,
        embed_image=start.embed_image,
        tuning=Tuning(source, laid_over(read_photo(picture), learned)),
    )
    return train_run(run, as_json)


def _read(image: Path, masks: "Sequence[Path]", recipe: "Recipe", device: str) -> "Sequence[Photo]":
    """The photo, all photos of a folder, or the clip."""
    from singleimage.album import read_album
    from singleimage.clip import read_clip
    from singleimage.device import find_device
    from singleimage.generators.hyper import HyperSpec
    from singleimage.image import read_photo
    from singleimage.parallel import join

    join(find_device(device))
    if recipe.learns_clips:
        refuse(["--mask"] if masks else [], "does not go with a clip")
        return [read_clip(image)]
    if not image.is_dir():
        return [read_photo(image, masks=masks)]
    if not isinstance(recipe.generator, HyperSpec):
        raise ImageError(
            f"{image} is a folder; add --each to learn every photo in it, or --preset meta-small "
            f"for one model of all."
        )
    refuse(["--mask"] if masks else [], "does not go with a folder of photos")
    return read_album(image)


def _tell_notes(photos: "Sequence[Photo]") -> None:
    """What was changed in reading; one of several processes says it."""
    from singleimage.parallel import leading

    for note in [note for photo in photos for note in photo.notes] if leading() else ():
        say(f"note: {note}")


def train_run(run: "Run", as_json: bool) -> int:
    """Train, show how it goes, and stop when asked to."""
    from singleimage.parallel import anywhere, leading, leave

    first = leading()
    quiet = as_json or not first
    if run.trainer.finished and first:
        say(f"{run.folder} is complete.")
    elif run.resumed and first:
        say(f"continuing {run.folder} at level {run.trainer.level}, step {run.trainer.step}.")
    stopped = False
    with catch_stop() as stop, progress_bars(quiet=quiet) as show:
        for progress in run:
            show(progress)
            if stopped := anywhere(stop.by is not None):
                run.save()
                break
    leave()
    if stopped:
        if first:
            say(f"stopped; the same command continues {run.folder}.")
        return 128 + (stop.by or signal.SIGTERM)
    if not first:
        return 0
    summary = {"run": str(run.folder), "model": str(run.model_path), "levels": run.trainer.levels}
    summary["seconds"] = round(run.trainer.seconds, 1)
    text = f"model in {run.model_path}; draw with: singleimage sample {run.folder} -o FOLDER"
    if run.photos > 1:
        text = f"{run.model_path}; go on with: singleimage model {run.folder} PHOTO -o MODEL"
    report(summary, text, as_json)
    return 0


@dataclass(frozen=True)
class _Form:
    """What all jobs of `train --each` have in common."""

    recipe: "Recipe"
    seed: int
    device: str
    precision: Precision
    threads: int


def _train_each(
    folder: Path, output: Path | None, form: _Form, engine: "Engine", as_json: bool
) -> int:
    """A run for each photo of a folder, in `output`."""
    from singleimage.imagefile import pictures_in
    from singleimage.jobs import Job
    from singleimage.overview import Halted, show_events, tell_failures

    photos = pictures_in(folder)
    if output is None:
        raise OutputError("no folder for the runs; add -o RUNS.")
    jobs = [
        Job(
            name=name,
            method=form.recipe.name,
            photo=str(photo.absolute()),
            seed=form.seed,
            recipe=form.recipe,
            device=form.device,
            precision=form.precision,
            threads=form.threads,
        )
        for name, photo in zip(names_of(photos), photos, strict=True)
    ]
    try:
        ended = show_events(engine.run(jobs, output), len(jobs), quiet=as_json)
    except Halted as halted:
        return halted.code
    code = tell_failures(ended)
    facts, good = _outcomes(ended, output)
    report(facts, f"{good} of {len(jobs)} models in {output}", as_json)
    return code


def _outcomes(ended: "Sequence[Event]", output: Path) -> tuple[dict[str, Any], int]:
    """What the command tells as JSON, and how many jobs are done."""
    failed = [{"job": e.job, "reason": e.text} for e in ended if e.state == "failed"]
    runs = [str(output / e.job) for e in ended if e.state != "failed"]
    return {"runs": runs, "failed": failed}, len(runs)


def _show_plan(
    recipe: "Recipe",
    photos: "Sequence[Photo]",
    seed: int,
    device: str,
    precision: Precision,
    as_json: bool,
) -> int:
    """What a training would be; every level is tried for a few steps to know its time."""
    import msgspec

    from singleimage.planning import plan
    from singleimage.recipe import fields_of

    levels = plan(recipe, photos, seed=seed, device=device, precision=precision)
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
    print("\nlevel       size   generator so far      critic   s/step")
    for i, level in enumerate(levels):
        print(
            f"{i:5} {level.text:>10} {level.generator_parameters:18,} "
            f"{level.critic_parameters:11,} {level.seconds_per_step:8.3f}"
        )
    steps = ", ".join(map(str, dict.fromkeys(level.steps for level in levels)))
    print(f"\n{steps} steps a level: about {duration(seconds)} on this machine")
    return 0
