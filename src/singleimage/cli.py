"""The command line: what commands there are, and how they end."""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from singleimage.commands.animating import animate
from singleimage.commands.comparing import bench
from singleimage.commands.drawing import info, reconstruct, sample
from singleimage.commands.hyper import interpolate, model
from singleimage.commands.measuring import evaluate
from singleimage.commands.retouching import edit, extend, fill, harmonize, paint, restyle, upscale
from singleimage.commands.training import train, tune
from singleimage.console import fail
from singleimage.errors import SingleImageError

app = App(
    name="singleimage",
    help="Generative models learned from a single image: train on one photo, draw new ones.",
    help_format="plaintext",
    version_flags=["--version"],
)
for command in (
    train,
    tune,
    model,
    interpolate,
    sample,
    reconstruct,
    info,
    harmonize,
    edit,
    paint,
    restyle,
    fill,
    extend,
    upscale,
    animate,
    evaluate,
    bench,
):
    app.command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Errors are one line on standard error, code 2."""
    try:
        result = app(
            sys.argv[1:] if argv is None else argv,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except SingleImageError as error:
        return fail(str(error))
    except CycloptsError as error:
        command = " ".join(["singleimage", *(error.command_chain or ())])
        return fail(f"{error} See: {command} --help")
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or error}"
        return fail(f"cannot read or write {what}; check the path and the free space.")
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        return fail("out of memory; use a smaller size or pyramid.max_size.")
    except KeyboardInterrupt:
        return 130
    return int(result or 0)
