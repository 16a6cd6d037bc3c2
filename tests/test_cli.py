"""The command line: each command and each flag does what its help says."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import singleimage
from singleimage import cli
from singleimage.commands import console
from singleimage.images.photo import read_photo
from singleimage.models.model import Model
from singleimage.training.progress import Progress
from tiny import TRAIN_FLAGS, TRAIN_STEPS, Command, Outcome

RESULT = "--output -o --seed --overwrite --device --precision --json"
FLAGS = {
    "train": "IMAGE --output -o --preset --for --steps --set --mask --seed --device --precision "
    "--embed-image --no-embed-image --dry-run --each --workers --ray --json",
    "tune": "SOURCE PHOTO PICTURE --output -o --steps --device --json",
    "model": "META PHOTO --output -o --adapt --seed --overwrite --device --precision --json",
    "interpolate": "META FIRST SECOND --output -o --levels --steps --frames --seed --overwrite "
    "--device --precision --json",
    "sample": "SOURCE --output -o --count -n --seed --size --scale --start-level --tile --frames "
    "--sheet --no-sheet --overwrite --device --precision --json",
    "reconstruct": "SOURCE --output -o --overwrite --device --precision --json",
    "info": "SOURCE --json",
    "harmonize": f"SOURCE PICTURE --background --mask {RESULT} --level --sweep",
    "edit": f"SOURCE PICTURE --background --mask {RESULT} --level --sweep",
    "paint": f"SOURCE PICTURE {RESULT} --level --sweep",
    "restyle": f"SOURCE PICTURE {RESULT} --level --sweep",
    "fill": f"SOURCE PICTURE --mask {RESULT} --level --sweep",
    "extend": f"SOURCE PICTURE --top --bottom --left --right {RESULT} --level --sweep",
    "upscale": f"SOURCE PICTURE --factor --strength --consistent --no-consistent --truth {RESULT}",
    "animate": "SOURCE --output -o --frames -n --fps --seed --alpha --beta --start-level --loop "
    "--size --scale --quality --overwrite --device --precision --json",
    "evaluate": "SOURCES --real --count -n --seed --features --weights --jpeg --report "
    "--overwrite --device --precision --json",
    "bench": "IMAGES --output -o --presets --published --seeds --count -n --features --jpeg "
    "--steps --set --workers --ray --device --precision --json",
}
"""Every flag is a promise: add one here only with a test of what it does."""


def pixels(path: Path) -> NDArray[Any]:
    with Image.open(path) as opened:
        return np.asarray(opened)


def result(outcome: Outcome) -> Any:
    """The JSON object that is the only line on standard output."""
    assert outcome.code == 0, outcome.err
    (line,) = outcome.out.splitlines()
    return json.loads(line)


# The commands as such ----------------------------------------------------------------------------


def test_the_flags_are_those_that_were_agreed_on() -> None:
    commands = [name for name in cli.app if not name.startswith("-")]
    found = {
        name: [n for a in cli.app[name].assemble_argument_collection() for n in a.names if n != "*"]
        for name in commands
    }
    assert found == {name: flags.split() for name, flags in FLAGS.items()}


@pytest.mark.parametrize("words", ["", *FLAGS])
def test_help_lists_the_parameters_and_does_not_import_torch(words: str) -> None:
    line = [sys.executable, "-X", "importtime", "-m", "singleimage", *words.split(), "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    imported = {row.split("|")[-1].strip() for row in done.stderr.splitlines()}
    assert "singleimage.cli" in imported
    assert not {"torch", "numpy", "PIL"} & imported
    for name in FLAGS[words].split() if words else FLAGS:
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", done.stdout), name


@pytest.mark.parametrize("words", FLAGS)
def test_every_parameter_has_words_of_its_own(words: str, command: Command) -> None:
    text = command(f"{words} --help").out
    for argument in cli.app[words].assemble_argument_collection():
        if argument.name == "*":  # a group of others
            continue
        assert re.search(rf" {argument.name}[-\w ]*( [A-Z.]+)? {{2,}}\w+,? \w+", text), (
            argument.name
        )


def test_the_version_is_that_of_the_package(command: Command) -> None:
    line = [sys.executable, "-m", "singleimage", "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == f"{singleimage.__version__}\n"
    assert command("--version").out == done.stdout


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
        (MemoryError(), "out of memory; use a smaller size or pyramid.max_size."),
        (RuntimeError("CUDA out of memory"), "out of memory; use a smaller size"),
        (OSError(28, "No space left on device", "x.png"), "x.png: No space left on device; check"),
        (OSError("odd"), "cannot read or write a file: odd; check the path and the free space."),
    ],
)
def test_errors_of_the_machine_are_one_line(
    error: Exception,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert cli.main([]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        cli.main([])


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupt)
    assert cli.main([]) == 130


# train -------------------------------------------------------------------------------------------


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
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    flags = f"{TRAIN_FLAGS['consingan']} --steps 1 --seed 7 --set training.decay=0.25 --device cpu --json"
    outcome = command(f"train {photo_file} --output {tmp_path}/run {flags}")
    facts = result(outcome)
    assert facts.pop("seconds") > 0
    expected = {"run": f"{tmp_path}/run", "model": f"{tmp_path}/run/model.safetensors", "levels": 3}
    assert facts == expected
    assert outcome.err == ""
    model = Model.load(tmp_path / "run")
    assert model.recipe.name == "consingan"
    assert model.recipe.training.steps == 1
    assert model.recipe.training.decay == 0.25
    assert model.recipe.pyramid.max_size == 40
    assert model.provenance.seed == 7
    assert model.provenance.image_sha256 == read_photo(photo_file).sha256
    assert model.provenance.photo == (44, 52)


def test_preview_is_the_preset_unless_another_is_asked_for(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    flags = "--set pyramid.max_size=30 --set generator.width=4 --set critic.width.base=4"
    facts = result(command(f"train {photo_file} {flags} --dry-run --json"))
    assert facts["recipe"]["name"] == "preview"


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
    assert re.search(r"^ +2 +34x40 +1,\d{3} +\d+ +\d+\.\d{3}$", text, flags=re.M)
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

    line = f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['singan']} --steps {TRAIN_STEPS['singan']}"
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


def test_a_terminal_is_shown_a_bar(
    photo_file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command(f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 1")
    assert outcome.code == 0
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", outcome.err)
    assert re.search(r"level 3/3 ━{20} 1/1 0 s left critic_real -?\d\.\d{3}  critic", plain)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (7260, "2 h 01 min")]
)
def test_durations_are_in_words(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


# sample ------------------------------------------------------------------------------------------


def test_sample_writes_a_file_for_each_seed_and_a_sheet(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    outcome = command(f"sample {tiny_run} -o {tmp_path}/out -n 3 --seed 9998")
    assert outcome == Outcome(0, f"3 pictures in {tmp_path}/out\n", "")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["10000.png", "9998.png", "9999.png", "sheet.png"]
    model = Model.load(tiny_run)
    for seed, picture in zip((9998, 9999), model.sample([9998, 9999]), strict=True):
        picture.save(tmp_path / "expected.png", overwrite=True)
        expected = pixels(tmp_path / "expected.png")
        np.testing.assert_array_equal(pixels(tmp_path / "out" / f"{seed}.png"), expected)


def test_eight_pictures_are_drawn_unless_told_otherwise(
    tiny_runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    facts = result(command(f"sample {tiny_runs['consingan']} -o {tmp_path} --json"))
    names = [Path(file).name for file in facts["files"]]
    assert names == [f"{i:04}.png" for i in range(8)] + ["sheet.png"]
    assert all(Path(file).is_file() for file in facts["files"])


def test_the_sheet_begins_with_the_photo(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    command(f"sample {tiny_run} -o {tmp_path}/out -n 2")
    height, width = Model.load(tiny_run).size
    page = pixels(tmp_path / "out" / "sheet.png")
    photo = Model.load(tiny_run).training_image()
    assert photo is not None
    first = page[4 : 4 + height, 4 : 4 + width]
    np.testing.assert_array_equal(first, np.asarray(photo.preview()))
    second = page[4 : 4 + height, 8 + width : 8 + 2 * width]
    np.testing.assert_array_equal(second, pixels(tmp_path / "out" / "0000.png"))


def test_no_sheet_writes_none(tiny_run: Path, tmp_path: Path, command: Command) -> None:
    facts = result(command(f"sample {tiny_run} -o {tmp_path}/out --count 1 --no-sheet --json"))
    assert facts["files"] == [f"{tmp_path}/out/0000.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0000.png"]


def test_the_same_seed_gives_the_same_picture(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    for folder in ("a", "b"):
        command(f"sample {tiny_run}/model.safetensors -o {tmp_path}/{folder} -n 2 --seed 5")
    names = ["0005.png", "0006.png", "sheet.png"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / names[0]).read_bytes() != (tmp_path / "a" / names[1]).read_bytes()


def test_a_picture_does_not_depend_on_how_many_are_drawn(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    command(f"sample {tiny_run} -o {tmp_path}/many -n 19")
    for seed in (0, 2, 18):
        command(f"sample {tiny_run} -o {tmp_path}/one -n 1 --seed {seed} --overwrite")
        one, many = (tmp_path / folder / f"{seed:04}.png" for folder in ("one", "many"))
        np.testing.assert_array_equal(pixels(one), pixels(many))


@pytest.mark.parametrize(
    ("flag", "size"),
    [("--size 60x50", (60, 50)), ("--size 30X44", (30, 44)), ("--scale 1.5", None)],
)
def test_pictures_have_the_size_that_was_asked_for(
    flag: str, size: tuple[int, int] | None, tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    assert command(f"sample {tiny_run} -o {tmp_path}/out -n 2 {flag}").code == 0
    if size is None:
        size = tuple(round(side * 1.5) for side in Model.load(tiny_run).size)
    for name in ("0000.png", "0001.png"):
        assert pixels(tmp_path / "out" / name).shape == (*size, 3)


def test_the_smallest_size_that_info_names_can_be_drawn(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    height, width = result(command(f"info {tiny_run} --json"))["smallest_sample"]
    line = f"sample {tiny_run} -o {tmp_path}/out -n 1 --overwrite --size"
    assert command(f"{line} {height}x{width}").code == 0
    assert command(f"{line} {height // 2}x{width}").code == 2


def test_a_start_level_keeps_the_layout_below_it(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    command(f"reconstruct {tiny_run} -o {tmp_path}/r.png")
    known = pixels(tmp_path / "r.png").astype(float)
    gaps = []
    for level in (0, 2):
        command(f"sample {tiny_run} -o {tmp_path}/{level} -n 4 --start-level {level}")
        drawn = [pixels(tmp_path / f"{level}" / f"{i:04}.png") for i in range(4)]
        gaps.append(np.mean([np.abs(picture - known).mean() for picture in drawn]))
    assert gaps[1] < gaps[0]


def test_overwriting_is_done_on_demand_only(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    line = f"sample {tiny_run} -o {tmp_path}/out -n 1"
    assert command(line).code == 0
    before = (tmp_path / "out" / "0000.png").read_bytes()
    (tmp_path / "out" / "0000.png").write_text("mine")
    assert command(line).code == 2
    assert (tmp_path / "out" / "0000.png").read_text() == "mine"
    assert command(f"{line} --overwrite").code == 0
    assert (tmp_path / "out" / "0000.png").read_bytes() == before


@pytest.mark.parametrize("words", ["train", "sample", "reconstruct"])
def test_a_device_can_be_named_with_its_threads(
    words: str,
    photo_file: Path,
    tiny_runs: dict[str, Path],
    tmp_path: Path,
    command: Command,
    threads: int,
) -> None:
    torch.set_num_threads(2)
    line = {
        "train": f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS['consingan']} --steps 1",
        "sample": f"sample {tiny_runs['consingan']} -o {tmp_path}/out -n 1",
        "reconstruct": f"reconstruct {tiny_runs['consingan']} -o {tmp_path}/r.png",
    }[words]
    assert command(f"{line} --device cpu:1").code == 0
    assert torch.get_num_threads() == 1


# reconstruct and info ----------------------------------------------------------------------------


def test_reconstruct_writes_what_the_model_knows_of_the_photo(
    tiny_run: Path, tmp_path: Path, command: Command
) -> None:
    model = Model.load(tiny_run)
    photo = model.training_image()
    assert photo is not None
    facts = result(command(f"reconstruct {tiny_run} -o {tmp_path}/r.png --json"))
    assert facts["files"] == [f"{tmp_path}/r.png"]
    assert facts["mse"] == pytest.approx(
        float((model.reconstruct().pixels - photo.pixels).square().mean())
    )
    found = read_photo(tmp_path / "r.png").pixels
    assert float((found - model.reconstruct().pixels).abs().max()) <= 1.01 / 255
    text = command(f"reconstruct {tiny_run} -o {tmp_path}/r.png --overwrite").out
    assert re.fullmatch(
        r"reconstruction in .*/r\.png; mean squared error \d\.\d{5} in \[-1, 1\]\n", text
    )


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_reconstruct_writes_the_format_of_the_suffix(
    suffix: str, tiny_runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    assert command(f"reconstruct {tiny_runs['singan']} -o {tmp_path}/r{suffix}").code == 0
    with Image.open(tmp_path / f"r{suffix}") as opened:
        assert opened.format == {".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF"}[suffix]


def test_info_tells_what_a_model_is(tiny_run: Path, command: Command) -> None:
    model = Model.load(tiny_run)
    facts = result(command(f"info {tiny_run} --json"))
    assert facts["preset"] == tiny_run.name
    assert facts["recipe_digest"] == model.recipe.digest()
    assert facts["channels"] == {"mode": "RGB", "bits": 8, "masks": []}
    assert facts["levels"] == [list(size) for size in model.generator.ladder.sizes]
    assert facts["entry_levels"] == ([0] if tiny_run.name == "consingan" else [1, 2])
    assert facts["parameters"] == sum(p.numel() for p in model.generator.parameters())
    assert facts["image_embedded"] is True
    assert facts["photo"] == [44, 52]
    assert facts["seed"] == 0
    assert facts["versions"]["singleimage"] == singleimage.__version__
    text = command(f"info {tiny_run}/model.safetensors").out
    for name in facts:
        assert re.search(rf"^ +{name.replace('_', ' ')}  \S", text, flags=re.M), name


# Channels ----------------------------------------------------------------------------------------


def rewrite(photo_file: Path, path: Path, mode: str) -> Path:
    """The photo as gray, with alpha, or with 16 bits, where `mode` says so."""
    values = pixels(photo_file)
    if mode.startswith("L"):
        values = values[..., :1]
    if mode.rstrip("16").endswith("A"):
        alpha = np.where(np.indices(values.shape[:2]).sum(axis=0) % 20 < 10, 255, 40)
        values = np.dstack([values, alpha.astype(np.uint8)])
    if mode.endswith("16"):
        import tifffile

        values = values.astype(np.uint16) * 257 - (values > 0)
        photometric = "rgb" if values.shape[2] > 2 else "minisblack"
        tifffile.imwrite(path, values.squeeze(), photometric=photometric)
    else:
        Image.fromarray(values.squeeze()).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "preset"),
    [
        ("L", "consingan"),
        ("L", "singan"),
        ("LA", "singan"),
        ("RGBA", "consingan"),
        ("RGBA", "singan"),
        ("L16", "consingan"),
        ("RGB16", "consingan"),
    ],
)
def test_samples_have_the_channels_of_the_photo(
    mode: str, preset: str, photo_file: Path, tmp_path: Path, command: Command
) -> None:
    photo = rewrite(photo_file, tmp_path / "photo.tif", mode)
    line = f"train {photo} -o {tmp_path}/run {TRAIN_FLAGS[preset]} --steps 1"
    assert command(line).code == 0
    facts = result(command(f"sample {tmp_path}/run -o {tmp_path}/out -n 1 --json"))
    assert Path(facts["files"][0]).name == ("0000.tiff" if mode == "RGB16" else "0000.png")
    drawn = read_photo(facts["files"][0])
    assert drawn.channels == read_photo(photo).channels
    assert drawn.channels.mode + ("16" if drawn.channels.bits == 16 else "") == mode


@pytest.mark.parametrize("preset", TRAIN_FLAGS)
def test_samples_come_with_their_masks(
    preset: str, photo_file: Path, tmp_path: Path, command: Command
) -> None:
    rows, columns = np.indices((44, 52))
    labels = (columns // 18).astype(np.uint8)
    Image.fromarray(labels * 3).save(tmp_path / "labels.png")
    Image.fromarray(((rows // 11) % 2 * 255).astype(np.uint8)).save(tmp_path / "binary.png")
    masks = f"--mask {tmp_path}/labels.png --mask {tmp_path}/binary.png"
    line = f"train {photo_file} -o {tmp_path}/run {TRAIN_FLAGS[preset]} --steps 1 {masks}"
    assert command(line).code == 0
    assert Model.load(tmp_path / "run").channels.masks == ((0, 3, 6), (0, 255))
    facts = result(command(f"sample {tmp_path}/run -o {tmp_path}/out -n 2 --json"))
    names = [Path(file).name for file in facts["files"]]
    assert names == [f"000{i}{part}.png" for i in (0, 1) for part in ("", "_mask", "_mask2")] + [
        "sheet.png"
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
    height, width = Model.load(tmp_path / "run").size
    assert pixels(tmp_path / "out" / "0000.png").shape == (height, width, 3)
    for name, known in (("0000_mask.png", {0, 3, 6}), ("0001_mask2.png", {0, 255})):
        mask = pixels(tmp_path / "out" / name)
        assert mask.shape == (height, width)
        assert set(np.unique(mask).tolist()) <= known


def test_an_existing_mask_is_not_replaced_either(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    Image.fromarray(np.eye(44, 52, dtype=np.uint8) * 255).save(tmp_path / "m.png")
    flags = f"{TRAIN_FLAGS['consingan']} --steps 1 --mask {tmp_path}/m.png"
    assert command(f"train {photo_file} -o {tmp_path}/run {flags}").code == 0
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0001_mask.png").write_text("mine")
    outcome = command(f"sample {tmp_path}/run -o {tmp_path}/out -n 2")
    assert outcome.code == 2
    assert "0001_mask.png exists and would be replaced" in outcome.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0001_mask.png"]


def test_notes_on_the_photo_go_to_stderr(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    with Image.open(photo_file) as opened:
        frames = [opened.convert("RGB"), opened.transpose(Image.Transpose.ROTATE_180)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    flags = f"{TRAIN_FLAGS['consingan']} --steps 1 --json"
    outcome = command(f"train {tmp_path}/x.gif -o {tmp_path}/run {flags}")
    assert result(outcome)["levels"] == 3
    assert outcome.err == "note: x.gif has 2 frames; the first is used.\n"


def test_precision_decides_what_computes_and_is_kept_with_the_model(
    photo_file: Path, tmp_path: Path, command: Command
) -> None:
    for precision in ("fp32", "bf16"):
        line = f"train {photo_file} -o {tmp_path}/{precision} {TRAIN_FLAGS['consingan']} --steps 1"
        assert command(f"{line} --precision {precision}").code == 0
        facts = result(command(f"info {tmp_path}/{precision} --json"))
        assert facts["precision"] == precision
        draw = f"sample {tmp_path}/{precision} -n 1 --no-sheet -o {tmp_path}/{precision}"
        assert command(f"{draw}/as-fp32 --precision fp32").code == 0
        assert command(f"{draw}/as-bf16 --precision bf16").code == 0
    other = command(
        f"train {photo_file} -o {tmp_path}/bf16 {TRAIN_FLAGS['consingan']} --steps 1 --precision fp32"
    )
    assert other.code == 2
    assert "precision: bf16, now fp32" in other.err
    weights = [Model.load(tmp_path / p).generator.state_dict() for p in ("fp32", "bf16")]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
