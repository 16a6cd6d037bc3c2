"""`singleimage model`: make the model of a photo with a hypernetwork."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from singleimage.commands.arguments import Device, Json, Output, Overwrite, Precision, Seed, Whole
from singleimage.commands.console import print_result, say
from singleimage.errors import ArgumentError, OutputError

if TYPE_CHECKING:
    from singleimage.images.photo import Photo
    from singleimage.models.hypermodel import HyperModel
    from singleimage.training.run import Run

Meta = Annotated[Path, Parameter(help="A hypernetwork's file, or the folder of its run.")]


def model(
    meta: Meta,
    photo: Path,
    /,
    *,
    output: Output,
    adapt: Whole | None = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> int:
    """Make a model of a photo with a hypernetwork, in one forward pass.

    Parameters
    ----------
    photo
        Any photo, of training or a new one.
    output
        File for the model, an ordinary one for all other commands. With --adapt the folder of a
        run.
    adapt
        Train the model on the photo, so many steps a level, beginning with what was predicted. The
        same command continues what was stopped.
    seed
        Of the noise in --adapt.
    """
    from singleimage.images.reader import read_photo
    from singleimage.machine.files import refuse_existing, require_folder
    from singleimage.models.hypermodel import HyperModel

    if adapt is not None and adapt < 1:
        raise ArgumentError(f"cannot adapt for {adapt} steps; use 1 or more.")
    if adapt is None:
        _require_file(output)
        refuse_existing(output, overwrite=overwrite)
        require_folder(output)
    hyper = HyperModel.load(meta, device=device, precision=precision)
    picture = hyper.fitted(read_photo(photo), photo.name)
    for note in picture.notes:
        say(f"note: {note}")
    if adapt is not None:
        from singleimage.commands.train import make

        run = _adapting(hyper, picture, photo.name, output, adapt, seed, device, precision)
        return make(run, as_json)
    started = time.perf_counter()
    made = hyper.model(picture)
    milliseconds = 1000 * (time.perf_counter() - started)
    made.save(output, overwrite=overwrite)
    facts = {"model": str(output), "milliseconds": round(milliseconds, 1)}
    print_result(facts, f"model in {output}, made in {milliseconds:.0f} ms", as_json)
    return 0


def _require_file(output: Path) -> None:
    if output.is_dir() or output.suffix != ".safetensors":
        raise OutputError(f"{output} is no name of a model; use one that ends in .safetensors.")


def _adapting(
    hyper: "HyperModel",
    photo: "Photo",
    name: str,
    output: Path,
    steps: int,
    seed: int,
    device: str,
    precision: Precision,
) -> "Run":
    """A training that begins with the predicted generator and critic."""
    from singleimage.training.run import Run

    return Run(
        output,
        photo,
        hyper.recipe.of_one().with_steps(steps),
        seed=seed,
        name=name,
        device=device,
        precision=precision,
        start=hyper.start(photo),
    )
