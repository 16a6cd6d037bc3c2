"""The command line: what commands there are, and how they end."""

import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cyclopts import App, CycloptsError

from singleimage.commands.animate import animate
from singleimage.commands.apply import apply
from singleimage.commands.bench import bench
from singleimage.commands.console import fail
from singleimage.commands.evaluate import evaluate
from singleimage.commands.export import export
from singleimage.commands.info import info
from singleimage.commands.interpolate import interpolate
from singleimage.commands.model import model
from singleimage.commands.reconstruct import reconstruct
from singleimage.commands.sample import sample
from singleimage.commands.studio import studio
from singleimage.commands.study import study, study_report
from singleimage.commands.tool import tool_commands
from singleimage.commands.train import train
from singleimage.commands.tune import tune
from singleimage.commands.upscale import upscale
from singleimage.errors import in_words

app = App(
    name="singleimage",
    help="New pictures from a single photo, at once or by a model trained on it.",
    help_format="plaintext",
    version_flags=["--version"],
)
COMMANDS: tuple[Callable[..., int], ...] = (
    *(train, tune, model, interpolate, sample, reconstruct, info),
    *tool_commands(without=("upscale", "animate")),
    *(upscale, animate, apply, export, evaluate, bench, studio, study, study_report),
)
"""In the order of the help."""
for command in COMMANDS:
    app.command(command)


def _own_process() -> None:
    """Nothing but our words reaches the user, whatever characters they have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.simplefilter("ignore")

    def quiet(ended: threading.ExceptHookArgs) -> None:
        if not isinstance(ended.exc_value, OSError):  # which the main thread meets, too
            threading.__excepthook__(ended)

    threading.excepthook = quiet


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (None: that of the process) and return the exit code.

    Errors are one line on standard error, code 2.
    """
    if argv is None:
        _own_process()
    try:
        result = app(
            sys.argv[1:] if argv is None else argv,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except CycloptsError as error:
        command = " ".join(["singleimage", *(error.command_chain or ())])
        return fail(f"{error} See: {command} --help")
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who reads has seen enough, as of a program that the signal ends
        _drop_results()
        return 128 + 13
    except Exception as error:
        words = in_words(error)
        if words is None:  # a bug
            raise
        if isinstance(error, OSError):
            _drop_results()
        return fail(words)
    return int(result or 0)


def _drop_results() -> None:
    """What cannot be printed is not tried again at the very end of the process."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
