"""`singleimage tune`: train the finest level on for one picture."""

from pathlib import Path

from singleimage.commands.arguments import Device, Json, Output, Whole, read_told
from singleimage.commands.train import make
from singleimage.errors import RunError


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
        Folder of the run, trained with --preset consingan, and --for harmonize or --for edit.
    photo
        The photo it was trained on.
    picture
        The photo with something pasted in, or with parts moved.
    output
        Folder of the new run.
    steps
        How long.
    """
    from singleimage.tools.channels import laid_over
    from singleimage.training.identity import Identity
    from singleimage.training.run import Run, Tuning

    start, learned = Identity.read(source), read_told(photo)
    if start.recipe.finishes(learned.size):
        raise RunError(
            f"{source} finishes pictures with the photo's patches, which tuning does not reach; "
            f"train a run with: singleimage train {photo} --preset consingan --for harmonize -o RUN"
        )
    run = Run(
        output,
        learned,
        start.recipe.with_steps(steps),
        seed=start.seed,
        name=start.image,
        device=device,
        precision=start.precision,
        embed_image=start.embed_image,
        tuning=Tuning(source, laid_over(read_told(picture), learned)),
    )
    return make(run, as_json)
