"""`singleimage train`: its flags, and what it refuses."""

import itertools
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from refusals import assert_refused
from singleimage import Channels, Photo, cli
from singleimage.commands import console
from singleimage.images.reader import read_photo
from singleimage.models.model import Model
from singleimage.training.progress import Progress
from tiny import TRAIN_FLAGS, TRAIN_STEPS, Command, draw, pattern, pixels, result

TRANSCRIPT = """
unknown preset
$ train {photo} --preset singen -o {out}
no preset 'singen'; there are consingan, fast-stabilized, flow, hp-vae-gan, meta, meta-single,
meta-small, preview, quick, singan, standard.

no output
$ train {photo}
no folder for the run; add -o RUN.

below a file as output
$ train {photo} -o {photo}/run
{photo} is a file, not a folder; choose another output.

file as output
$ train {photo} -o {photo}
{photo} is a file, not a folder; choose another output.

folder with other files
$ train {photo} -o {bad}
{bad} is not empty and holds no run; use another folder.

run of another photo
$ train {bad}/good.png --steps 6 -o {run}
{run} holds a run with other settings (another photo or other masks); use another folder.

run with another seed
$ train {photo} --seed 1 --steps 6 -o {run}
{run} holds a run with other settings (seed: 0, now 1); use another folder.

run with another recipe
$ train {photo} --set generator.width=5 --steps 6 -o {run}
{run} holds a run with other settings (generator.width: 4, now 5); use another folder.

damaged run
$ train {photo} --steps 6 -o {bad}/damaged
{bad}/damaged/run.json is damaged: ...; use another folder.

damaged state
$ train {photo} --steps 6 -o {bad}/state
{bad}/state/state.pt is damaged, the run cannot be continued; use another folder.

another number of masks
$ train {photo} --mask {bad}/mask.png --steps 6 -o {run}
{run} holds a run with other settings (another photo or other masks); use another folder.
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, good_run: Path) -> Path:
    """A folder of a picture, a mask, and runs whose files are damaged."""
    folder = tmp_path_factory.mktemp("bad")
    draw(folder / "good.png", 3)
    Image.fromarray(np.eye(44, 52, dtype=np.uint8)).save(folder / "mask.png")
    for name, file in (("damaged", "run.json"), ("state", "state.pt")):
        shutil.copytree(good_run, folder / name)
        (folder / name / file).write_text("{")
    return folder


def test_train_makes_a_run_that_can_be_drawn_from(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir()}
    assert {"run.json", "model.safetensors", "state.pt", "log.jsonl", "previews"} <= names
    model = Model.load(tiny_run)
    assert model.recipe.name == tiny_run.name
    assert model.provenance.levels == 3
    assert model.provenance.device == "cpu"


def test_progress_goes_to_stderr_and_the_result_to_stdout(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    outcome = command(f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 1")
    assert outcome.code == 0
    assert outcome.out == (
        f"model in {tmp_path}/run/model.safetensors; "
        f"draw with: singleimage sample {tmp_path}/run -o FOLDER\n"
    )
    lines = outcome.err.splitlines()
    assert [line[:19] for line in lines] == [f"level {i}/3  step 1/1" for i in (1, 2, 3)]


def test_train_follows_preset_steps_set_seed_and_the_photo(
    photo_file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(0.0)
    monkeypatch.setattr("time.perf_counter", lambda: next(seconds))  # even short trainings last
    flags = f"{TRAIN_FLAGS['consingan']} --steps 1 --seed 7 --set training.decay=0.25"
    outcome = command(f"train {photo_file} --output {tmp_path}/run {flags} --device cpu --json")
    facts = result(outcome)
    model = Model.load(tmp_path / "run")
    assert facts.pop("seconds") == model.provenance.seconds > 0
    expected = {"run": f"{tmp_path}/run", "model": f"{tmp_path}/run/model.safetensors", "levels": 3}
    assert facts == expected
    assert outcome.err == ""
    assert model.recipe.name == "consingan"
    assert model.recipe.training.steps == 1
    assert model.recipe.training.decay == 0.25
    assert model.recipe.pyramid.max_size == 40
    assert model.provenance.seed == 7
    assert model.provenance.image_sha256 == read_photo(photo_file).sha256
    assert model.provenance.photo == (44, 52)


def test_quick_is_the_preset_unless_another_is_asked_for(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    flags = "--set pyramid.max_size=30 --set generator.width=4 --set critic.width.base=4"
    facts = result(command(f"train {photo_file} {flags} --dry-run --json"))
    assert facts["recipe"]["name"] == "quick"


def test_the_photo_is_left_out_of_the_model_on_demand(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    line = f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 1"
    assert command(f"{line} --no-embed-image").code == 0
    assert Model.load(tmp_path / "run").image is None
    facts = result(command(f"info {tmp_path}/run --json"))
    assert facts["image_embedded"] is False
    assert command(f"sample {tmp_path}/run -o {tmp_path}/out -n 1").code == 0
    # Without the photo there is nothing on the sheet but the one sample.
    assert pixels(tmp_path / "out" / "sheet.png").shape == (34 + 8, 40 + 8, 3)
    facts = result(command(f"reconstruct {tmp_path}/run -o {tmp_path}/r.png --json"))
    assert "mse" not in facts
    assert command(f"{line} --embed-image").code == 2  # another run than that in the folder


def test_dry_run_prints_recipe_and_levels_and_writes_nothing(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    line = f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 2 --dry-run"
    text = command(line).out
    assert "generator.width = 4\n" in text
    assert re.search(r"^ +2 +34x40 +1,\d{3} +\d+ +\d+\.\d{3} +\d+\.\d$", text, flags=re.M)
    assert "2 steps a level: about" in text
    facts = result(command(f"{line} --json"))
    assert facts["recipe"]["training.steps"] == 2
    assert [level["size"] for level in facts["levels"]] == [[25, 30], [30, 35], [34, 40]]
    assert all(level["seconds_per_step"] > 0 for level in facts["levels"])
    assert facts["generator_parameters"] == facts["levels"][-1]["generator_parameters"]
    assert list(tmp_path.iterdir()) == []


def test_the_same_command_says_that_a_run_is_complete(
    photo_file: Path, tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    line = f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS[tiny_run.name]} --steps"
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    outcome = command(f"{line} {TRAIN_STEPS[tiny_run.name]}")
    assert outcome.code == 0
    assert outcome.err == f"{tmp_path}/run is complete.\n"
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_ctrl_c_stops_after_a_step_and_the_same_command_continues(
    photo_file: Path,
    tiny_runs: dict[str, Path],
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show = console.Show.__call__

    def press(self: console.Show, progress: Progress) -> None:
        show(self, progress)
        if (progress.level, progress.step) == (1, 1):
            signal.raise_signal(signal.SIGINT)

    flags = f"{TRAIN_FLAGS['singan']} --steps {TRAIN_STEPS['singan']}"
    line = f"train {photo_file} -o {tmp_path}/run {flags}"
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(console.Show, "__call__", press)
        outcome = command(line)
    assert outcome.code == 128 + signal.SIGINT
    assert outcome.err.splitlines()[-2:] == [
        "stopping after this step ...",
        f"stopped; the same command continues {tmp_path}/run.",
    ]
    assert signal.getsignal(signal.SIGINT) is handler
    outcome = command(line)
    assert outcome.code == 0
    assert outcome.err.startswith(f"continuing {tmp_path}/run at level 1, step 1.\n")
    ours = Model.load(tmp_path / "run").generator.state_dict()
    theirs = Model.load(tiny_runs["singan"]).generator.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_ctrl_c_in_the_last_step_stops_nothing(
    photo_file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(self: console.Show, progress: Progress) -> None:
        if progress.level == progress.levels - 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(console.Show, "__call__", press)
    line = f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 1"
    outcome = command(line)
    assert (outcome.code, outcome.err) == (0, "stopping after this step ...\n")
    assert "is complete" in command(line).err


def test_notes_on_the_photo_go_to_stderr(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    with Image.open(photo_file) as opened:
        frames = [opened.convert("RGB"), opened.transpose(Image.Transpose.ROTATE_180)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    flags = f"{TRAIN_FLAGS['consingan']} --steps 1 --json"
    outcome = command(f"train {tmp_path}/x.gif -o {tmp_path}/run {flags}")
    assert result(outcome)["levels"] == 3
    assert outcome.err == "note: x.gif has several frames; the first is used.\n"


def test_a_group_of_fields_is_set_to_another_kind(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    """Fast-Stabilized without involutions; and its samples can be tiled."""
    fields = {
        "pyramid.levels": "3",
        "pyramid.min_size": "13",
        "pyramid.max_size": "30",
        "generator.width": "4",
        "critic.width.base": "4",
        "training.steps": "1",
        "generator.body": '{"type":"convolution"}',
    }
    flags = " ".join(f"--set {path}={value}" for path, value in fields.items())
    line = f"train {photo_file} -o {tmp_path}/run --preset fast-stabilized {flags}"
    assert command(line).code == 0
    assert command(f"sample {tmp_path}/run -o {tmp_path}/out -n 2 --tile xy").code == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "or --preset meta-small for one model of all."),
        ("--preset meta-small --mask m.png", "does not go with a folder"),
    ],
)
def test_what_does_not_go_with_a_folder_is_said_in_one_line(
    flags: str, message: str, album: Path, tmp_path: Path, command: Command
) -> None:
    outcome = command(f"train {album} -o {tmp_path}/out {flags}")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_task_that_cannot_be_trained_for_is_said_in_one_line(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    for task, words in (
        ("nonsense", "no task 'nonsense'"),
        ("upscale:4", "use --preset singan"),
    ):
        done = command(f"train {photo_file} -o {tmp_path}/r --for {task}")
        assert done.code == 2, task
        assert len(done.err.strip().splitlines()) == 1
        assert words in done.err


def test_a_preset_or_a_folder_that_cannot_be_taken_is_one_line(
    bad: Path, photo_file: Path, good_run: Path, tmp_path: Path, command: Command
) -> None:
    assert_refused(TRANSCRIPT, command, tmp_path, bad=bad, photo=photo_file, run=good_run)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_names_that_are_no_text_are_names(tmp_path: Path, command: Command) -> None:
    """As a photo and as a folder; a list of jobs refuses them in one line."""
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "in").mkdir()
    photo = tmp_path / "in" / f"{name}.png"
    Photo(pattern(3), Channels(mode="RGB")).save(photo)
    small = ("pyramid.max_size=40", "pyramid.levels=3", "generator.width=4", "critic.width.base=4")
    flags = ["--preset", "preview", "--steps", "1"]
    flags = [*flags, *(word for field in small for word in ("--set", field))]
    run = str(tmp_path / name)
    assert cli.main(["train", str(photo), "-o", run, *flags]) == 0
    assert cli.main(["sample", run, "-o", str(tmp_path / f"{name}-s"), "-n", "1"]) == 0
    done = cli.main(["train", str(tmp_path / "in"), "--each", "-o", str(tmp_path / "e"), *flags])
    assert done == 2
