"""The command line as such: its commands, their help, and how they end."""

import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import singleimage
from refusals import assert_refused
from singleimage import cli
from tiny import Command

RESULT = "--output -o --seed --variety --overwrite --device --precision --json"
ENTERING = f"{RESULT} --level --sweep --map"
FLAGS = {
    "train": "IMAGE --output -o --preset --for --steps --set --mask --seed --device --precision "
    "--embed-image --no-embed-image --dry-run --each --workers --ray --json",
    "tune": "SOURCE PHOTO PICTURE --output -o --steps --device --json",
    "model": "META PHOTO --output -o --adapt --seed --overwrite --device --precision --json",
    "interpolate": "META FIRST SECOND MORE --output -o --levels --steps --frames --seed "
    "--overwrite --device --precision --json",
    "sample": "SOURCE MORE --output -o --count -n --seed --size --scale --start-level --tile "
    "--variety --mask --keep --map --frames --palette --no-palette --sheet --no-sheet --overwrite "
    "--device --precision --json",
    "reconstruct": "SOURCE --output -o --overwrite --device --precision --json",
    "info": "SOURCE --json",
    "export": "SOURCE --output -o --size --overwrite --json",
    "harmonize": f"SOURCE PICTURE --background --mask --exact --no-exact {ENTERING}",
    "edit": f"SOURCE PICTURE --background --mask --exact --no-exact {ENTERING}",
    "paint": f"SOURCE PICTURE {ENTERING}",
    "restyle": f"SOURCE PICTURE {ENTERING}",
    "fill": f"SOURCE PICTURE --mask --exact --no-exact {ENTERING}",
    "extend": f"SOURCE PICTURE --top --bottom --left --right --exact --no-exact {ENTERING}",
    "upscale": f"SOURCE PICTURE --factor --strength --consistent --no-consistent --truth {RESULT}",
    "animate": "SOURCE --output -o --frames -n --fps --seed --alpha --beta --start-level --loop "
    "--size --scale --quality --overwrite --device --precision --json",
    "apply": "REARRANGEMENT PICTURE --output -o --overwrite --json",
    "evaluate": "SOURCES --real --variety --count -n --seed --features --weights --jpeg "
    "--protocol --report --overwrite --device --precision --json",
    "bench": "IMAGES --output -o --presets --sets --published --seeds --count -n --features --jpeg "
    "--protocol --steps --set --workers --ray --device --precision --json",
    "studio": "SOURCE --output -o --host --port --browser --no-browser",
    "study": "FIRST SECOND --output -o --kind --trials --seconds --seed --host --port --browser "
    "--no-browser",
    "study-report": "FOLDER --json",
}
"""Every flag is a promise: add one here only with a test of what it does."""

TRANSCRIPT = """
unknown command
$ smaple {run} -o {out}
Unknown command "smaple". Did you mean "sample"? Available commands: train, tune, model,
interpolate, sample, reconstruct, info, harmonize, ... See: singleimage --help

unknown flag
$ sample {run} -o {out} --sede 3
Unknown option: --sede. Did you mean --seed? See: singleimage sample --help

flag of another command
$ info {run} --device cpu
Unknown option: --device. See: singleimage info --help

missing image
$ train -o {out}
Command "train" parameter IMAGE requires an argument. See: singleimage train --help

missing model argument
$ sample -o {out}
Command "sample" parameter SOURCE requires an argument. See: singleimage sample --help

missing output
$ sample {run}
Command "sample" parameter --output requires an argument. See: singleimage sample --help

missing value
$ sample {run} -o {out} --seed
Command "sample" parameter --seed requires an argument. See: singleimage sample --help

one word too many
$ info {run} {run}
Unused Tokens: ['{run}']. See: singleimage info --help

one model too many
$ sample {run} {run} -o {out}
a second source is for photos, and {run} is none; a model draws as it was made.

flag given twice
$ sample {run} -o {out} --seed 1 --seed 2
Parameter --seed specified multiple times. See: singleimage sample --help

mistyped whole number
$ sample {run} -o {out} --seed 1.5
Invalid value for --seed: 1.5 is not a whole number. See: singleimage sample --help

mistyped number
$ sample {run} -o {out} --scale two
Invalid value for --scale: unable to convert "two" into float. See: singleimage sample --help

value for a switch
$ sample {run} -o {out} --sheet=perhaps
Invalid value for --sheet: unable to convert "perhaps" into bool. See: singleimage sample --help
"""


def test_the_flags_are_those_that_were_agreed_on() -> None:
    commands = [name for name in cli.app if not name.startswith("-")]
    found = {
        name: [n for a in cli.app[name].assemble_argument_collection() for n in a.names if n != "*"]
        for name in commands
    }
    assert found == {name: flags.split() for name, flags in FLAGS.items()}


HELP_AND_VERSION = """
import sys
from singleimage.cli import main

assert main(["--version"]) == 0
for name in ["", *sys.argv[1:]]:
    print("help of", name)
    assert main([*name.split(), "--help"]) == 0
loaded = {"torch", "numpy", "PIL"} & set(sys.modules)
assert not loaded, loaded
"""


def test_help_and_version_do_not_import_torch(command: Command) -> None:
    line = [sys.executable, "-c", HELP_AND_VERSION, *FLAGS]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    version, *helps = re.split(r"help of .*\n", done.stdout)
    assert version == f"{singleimage.__version__}\n"
    for name, text in zip(["", *FLAGS], helps, strict=True):
        assert text == command(f"{name} --help").out, name


def test_the_package_runs_as_a_program(command: Command) -> None:
    line = [sys.executable, "-X", "importtime", "-m", "singleimage", "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == f"{singleimage.__version__}\n"
    imported = {row.split("|")[-1].strip() for row in done.stderr.splitlines()}
    assert "singleimage.cli" in imported
    assert not {"torch", "numpy", "PIL"} & imported
    assert command("--version").out == done.stdout


def test_help_lists_the_commands_and_their_parameters(command: Command) -> None:
    for words in ("", *FLAGS):
        text = command(f"{words} --help").out
        for name in FLAGS[words].split() if words else FLAGS:
            assert re.search(rf"(?<![\w-]){name}(?![\w-])", text), (words, name)


def test_every_parameter_has_words_of_its_own(command: Command) -> None:
    for words in FLAGS:
        text = command(f"{words} --help").out
        for argument in cli.app[words].assemble_argument_collection():
            if argument.name == "*":  # a group of others
                continue
            described = rf" {argument.name}[-\w ]*( [A-Z.]+)? {{2,}}\w+,? \w+"
            assert re.search(described, text), (words, argument.name)


def test_no_words_are_answered_with_help(command: Command) -> None:
    outcome = command("")
    assert outcome.code == 0
    assert "Usage: singleimage COMMAND" in outcome.out


def test_the_words_default_to_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["singleimage", "--version"])
    assert cli.main() == 0
    assert capsys.readouterr().out == f"{singleimage.__version__}\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "use a smaller size, or train with a smaller pyramid"),
        (RuntimeError("CUDA out of memory"), "out of memory; use a smaller size"),
        (RuntimeError("Invalid buffer size: 14.9 GB"), "out of memory; use a smaller size"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), "out of memory; use a smaller size"),
        (OSError(28, "No space left on device", "x.png"), "x.png: No space left on device; check"),
        (OSError("odd"), "cannot read or write a file: odd; check the path and the free space."),
    ],
)
def test_errors_of_the_machine_are_one_line(
    error: Exception,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert cli.main([]) == 2
    print("results go where they went")
    out, err = capfd.readouterr()
    assert out == "results go where they went\n"
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("mistake", ["shapes differ", "an illegal memory access was encountered"])
def test_our_own_mistakes_are_not_hidden(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(mistake)

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(RuntimeError, match=mistake):
        cli.main([])


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupt)
    assert cli.main([]) == 130


def test_words_that_are_not_understood_are_one_line(
    good_run: Path, tmp_path: Path, command: Command
) -> None:
    assert_refused(TRANSCRIPT, command, tmp_path, run=good_run)


@pytest.mark.parametrize(
    ("error", "code"), [(errno.ENOSPC, 2), (errno.EPIPE, 141)], ids=["full disk", "closed pipe"]
)
def test_results_that_do_not_leave_are_an_error_unless_nobody_reads_on(
    error: int,
    code: int,
    photo_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(error, os.strerror(error))

    monkeypatch.setattr(sys, "stdout", Full())
    assert cli.main(["info", str(photo_file)]) == code
    said = capfd.readouterr().err
    assert said.startswith("error: cannot read or write a file: No space left") == (code == 2)
