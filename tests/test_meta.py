"""Hypernetworks as users meet them: folders of photos, runs, models, interpolation, processes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from singleimage import Model, Photo, Recipe, Run, Trainer, preset, read_photo, with_overrides
from singleimage.errors import ArgumentError, ImageError, ModelFileError, RecipeError, RunError
from singleimage.images.folder import read_album
from singleimage.images.photo import Channels
from singleimage.machine import processes as parallel
from singleimage.metrics.leakage import PatchOwners
from singleimage.models.hypermodel import HyperModel
from singleimage.nn.embedding import BatchNorm
from singleimage.objectives.base import Turn
from singleimage.objectives.view import StepView
from tiny import Command

SETS = {
    "pyramid.width": "40",
    "pyramid.min_width": "25",
    "generator.width": "4",
    "critic.width": "4",
    "generator.rank": "4",
    "critic.rank": "4",
    **{
        f"{part}.embedding.{field}": value
        for part in ("generator", "critic")
        for field, value in (("width", "4"), ("view", "64"), ("blocks", "[1,1,1,1]"))
    },
}
FLAGS = " ".join(f"--set {path}={value}" for path, value in SETS.items())


def small(**more: str) -> Recipe:
    steps = {"training.steps": "3", "training.batch": "2"}
    return with_overrides(preset("meta-small"), {**SETS, **steps, **more})


def draw(path: Path, phase: float, size: tuple[int, int] = (44, 52)) -> Path:
    y, x = np.indices(size)
    waves = [np.sin(x / (4 + phase)), np.cos(y / 5 + phase), np.sin((x + y) / (3 + phase))]
    values = (np.stack(waves, axis=-1) * 0.9 * 127.5 + 127.5).astype(np.uint8)
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of one size."""
    home = tmp_path_factory.mktemp("album") / "photos"
    for i in range(3):
        draw(home / f"{i}.png", i)
    return home


@pytest.fixture(scope="module")
def photos(folder: Path) -> list[Photo]:
    return read_album(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photos: list[Photo]) -> Path:
    """A hypernetwork of three photos. Not to be changed by a test."""
    home = tmp_path_factory.mktemp("hyper") / "run"
    finish(home, small(), photos)
    return home


@pytest.fixture(scope="module")
def hyper(run: Path) -> HyperModel:
    return HyperModel.load(run, precision="fp32")


def finish(home: Path, recipe: Recipe, photos: list[Photo]) -> bytes:
    run = Run(home, photos, recipe, seed=3, device="cpu", precision="fp32")
    for _ in run:
        pass
    return weights(home)


def weights(home: Path) -> bytes:
    state = HyperModel.load(home).hyper.state_dict()
    return b"".join(name.encode() + t.numpy().tobytes() for name, t in sorted(state.items()))


# Photos ------------------------------------------------------------------------------------------


def test_photos_of_other_aspects_are_cropped_about_their_middle(tmp_path: Path) -> None:
    for i in range(2):
        draw(tmp_path / "in" / f"{i}.png", i, (40, 60))
    wide = draw(tmp_path / "in" / "2.png", 2, (40, 90))
    with Image.open(draw(tmp_path / "in" / "3.png", 3, (80, 120))) as opened:
        gray = opened.convert("L")
    gray.save(tmp_path / "in" / "3.png")
    photos = read_album(tmp_path / "in")
    assert [photo.size for photo in photos] == [(40, 60), (40, 60), (40, 60), (80, 120)]
    assert all(photo.channels == Channels(mode="RGB") for photo in photos)
    assert torch.equal(photos[2].pixels, read_photo(wide).pixels[:, :, 15:75])
    notes = [note for photo in photos for note in photo.notes]
    assert notes == ["2.png is cropped to the aspect of the others, 33% are left out."]


def test_alpha_among_photos_without_is_refused(tmp_path: Path) -> None:
    for i in range(2):
        draw(tmp_path / "in" / f"{i}.png", i)
    pixels = np.full((44, 52, 4), 90, np.uint8)
    pixels[0, 0] = 0
    Image.fromarray(pixels).save(tmp_path / "in" / "2.png")
    with pytest.raises(ImageError, match=r"2\.png is RGBA, most photos are RGB; convert it"):
        read_album(tmp_path / "in")


def test_every_photo_is_met_once_an_epoch_in_another_order(photos: list[Photo]) -> None:
    trainer = Trainer(photos, small(**{"training.batch": "1"}), seed=0, device="cpu")
    coarsest = trainer.example.images[0]

    def met(step: int) -> int:
        (image,) = trainer._batch(step).images[0]
        return next(i for i, one in enumerate(coarsest) if torch.equal(one, image))

    epochs = [[met(3 * epoch + i) for i in range(3)] for epoch in range(6)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_mirrored_photos_are_photos_of_their_own(photos: list[Photo]) -> None:
    trainer = Trainer(photos, small(**{"training.mirror": "true"}), seed=0, device="cpu")
    images = trainer.example.images[-1]
    assert len(images) == 6
    torch.testing.assert_close(images[3:], images[:3].flip(-1), rtol=0, atol=0.02)


def test_other_methods_learn_one_photo_at_a_time(photos: list[Photo]) -> None:
    with pytest.raises(RecipeError, match="consingan learns one photo at a time; use meta or"):
        Trainer(photos, preset("consingan"), seed=0)


# Runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [2, 4])
def test_a_stopped_run_ends_with_the_weights_of_an_unstopped_one(
    stop_after: int, tmp_path: Path, photos: list[Photo], run: Path
) -> None:
    parts = Run(tmp_path / "run", photos, small(), seed=3, device="cpu", precision="fp32")
    for i, _ in enumerate(parts, start=1):
        if i == stop_after:
            parts.save()
            break
    assert finish(tmp_path / "run", small(), photos) == weights(run)


def test_a_run_leaves_a_preview_of_its_photos(run: Path, photos: list[Photo]) -> None:
    height, width = HyperModel.load(run).model(photos[0]).size
    with Image.open(run / "previews" / "level-2.png") as page:
        assert page.size == (4 * (width + 4) + 4, 3 * (height + 4) + 4)


def test_two_processes_take_the_same_course_as_one(
    tmp_path: Path, folder: Path, photos: list[Photo]
) -> None:
    words = ["train", str(folder), "--preset", "meta-small", *FLAGS.split(), "--steps", "3"]
    words += ["--set", "training.batch=2", "--seed", "3", "--precision", "fp32", "--device"]
    words += ["cpu:1", "-o", str(tmp_path / "two")]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", "singleimage", *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    finish(tmp_path / "one", small(), photos)
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == len(two) == 3
    for ours, theirs in zip(one, two, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"seconds"}:
            assert ours[name] == pytest.approx(theirs[name], rel=2e-4, abs=1e-6), name
    a, b = (HyperModel.load(tmp_path / name).hyper.state_dict() for name in ("one", "two"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=2e-3, atol=2e-5, msg=name)
    assert any(not torch.equal(a[name], b[name]) for name in a)  # two did share the work


def test_processes_that_cannot_share_a_batch_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "processes", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    assert parallel.share_of(6) == slice(3, 6)
    with pytest.raises(RunError, match="2 processes cannot share a batch of 3 photos equally; set"):
        parallel.share_of(3)


def trained(photos: list[Photo], **more: str) -> dict[str, torch.Tensor]:
    trainer = Trainer(photos, small(**more), seed=0, device="cpu", dtype=torch.float64)
    for progress in trainer:
        if progress.level == 1 and progress.level_done:
            break
    return trainer.learner.state_dict()


def test_computing_images_again_changes_nothing(photos: list[Photo]) -> None:
    kept, again = trained(photos), trained(photos, **{"training.recompute": "true"})
    for name in kept:
        torch.testing.assert_close(kept[name], again[name], rtol=1e-9, atol=1e-12, msg=name)


def test_a_generator_may_make_several_steps(photos: list[Photo]) -> None:
    once = trained(photos)
    more = trained(photos, **{"phases.0.objective.generator_steps": "2"})
    assert any(not torch.equal(once[name], more[name]) for name in once)


@pytest.mark.parametrize("shared", ["both", "generator"])
def test_a_shared_embedding_learns_in_the_turns_it_should(
    shared: str, photos: list[Photo], tmp_path: Path
) -> None:
    recipe = small(**{"critic.shared": shared, "phases.0.objective.critic_steps": "2"})
    trainer = Trainer(photos, recipe, seed=0, device="cpu", precision="fp32")
    moved: dict[str, bool] = {}
    play = trainer.players.play

    def watched(turn: Turn, view: StepView, *when: int) -> dict[str, torch.Tensor]:
        embedding = trainer.learner.embedding  # type: ignore[union-attr]
        before = embedding.conv1.weight.clone()  # type: ignore[union-attr, operator]
        terms = play(turn, view, *when)
        moved[turn.player] = not torch.equal(before, embedding.conv1.weight)  # type: ignore[union-attr, arg-type]
        return terms

    trainer.players.play = watched  # type: ignore[method-assign]
    for progress in trainer:
        if progress.level_done:
            break
    assert moved == {"critic": shared == "both", "generator": True}
    assert not any(name.startswith("embedding") for name in trainer.players.critic.state_dict())
    trainer.hyper_model().save(tmp_path / "hyper.safetensors")
    start = HyperModel.load(tmp_path / "hyper.safetensors").start(photos[1])
    assert start.critic is not None


# Models ------------------------------------------------------------------------------------------


def test_a_model_of_a_new_photo_is_an_ordinary_model(
    hyper: HyperModel, run: Path, tmp_path: Path, command: Command
) -> None:
    new = draw(tmp_path / "new.png", 7, (50, 90))
    file = tmp_path / "one.safetensors"
    outcome = command(f"model {run} {new} -o {file} --precision fp32 --json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["milliseconds"] > 0
    model = Model.load(file, precision="fp32")
    made = hyper.model(read_photo(new))
    assert model.size == made.size == hyper.hyper.ladder.finest
    assert "note: new.png is cropped to the aspect of the others, 34% are left out." in outcome.err
    assert torch.equal(next(model.sample([4])).pixels, next(made.sample([4])).pixels)
    assert model.recipe.name == "meta-small-model"
    for line in (
        f"sample {file} -o {tmp_path}/s -n 2 --size 30x60",
        f"animate {file} -o {tmp_path}/a.gif --frames 3",
        f"info {file}",
        f"restyle {file} {new} -o {tmp_path}/r.png",
    ):
        outcome = command(line)
        assert outcome.code == 0, outcome.err


def test_models_differ_with_the_photo_and_not_with_their_company(
    hyper: HyperModel, photos: list[Photo]
) -> None:
    first, second = (next(hyper.model(photo).sample([1])).pixels for photo in photos[:2])
    assert not torch.equal(first, second)
    assert torch.equal(first, next(hyper.model(photos[0]).sample([1])).pixels)


def test_a_batch_that_never_changes_is_the_same_in_training_and_in_use() -> None:
    norm = BatchNorm(3)
    images = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(300):
        made = norm(images)
    torch.testing.assert_close(norm.eval()(images), made, rtol=0, atol=1e-5)


def test_a_gray_photo_is_modelled_in_color(hyper: HyperModel, photos: list[Photo]) -> None:
    gray = Photo(photos[0].pixels[:1], Channels(mode="L"))
    assert len(next(hyper.model(gray).sample([0])).pixels) == 3
    with pytest.raises(ImageError, match="the photo is RGBA, the model was trained on RGB"):
        hyper.model(Photo(torch.ones(4, 44, 52), Channels(mode="RGBA")))


def test_adapting_begins_with_what_was_predicted(
    hyper: HyperModel, run: Path, folder: Path, tmp_path: Path, command: Command
) -> None:
    line = f"model {run} {folder}/0.png -o {tmp_path}/ad --adapt 1 --precision fp32"
    outcome = command(f"{line} --device cpu")
    assert outcome.code == 0, outcome.err
    adapted = Model.load(tmp_path / "ad", precision="fp32").generator.state_dict()
    start = hyper.model(read_photo(folder / "0.png")).generator.state_dict()
    assert adapted.keys() == start.keys()
    for name, tensor in start.items():  # one step of Adam with a rate of 5e-4
        assert float((adapted[name] - tensor).abs().max()) <= 5.1e-4, name
    assert any(not torch.equal(adapted[name], start[name]) for name in start)
    assert "is complete" in command(line).err


def test_between_two_photos_lie_their_models(hyper: HyperModel, photos: list[Photo]) -> None:
    def state(t: float, level: int) -> dict[str, torch.Tensor]:
        return hyper.interpolated(photos[0], photos[1], t, level).generator.state_dict()

    ends = [hyper.model(photo).generator.state_dict() for photo in photos[:2]]
    middle = state(0.25, 0)
    for name in (name for name in middle if name.startswith("levels.")):
        mixed = torch.lerp(ends[0][name], ends[1][name], 0.25)
        torch.testing.assert_close(middle[name], mixed, rtol=1e-4, atol=1e-6)
    kept = state(1.0, 1)
    assert all(torch.equal(kept[n], ends[0][n]) for n in kept if n.startswith("levels.0."))
    assert any(not torch.equal(kept[n], ends[0][n]) for n in kept if n.startswith("levels.1."))


def test_interpolation_writes_a_sheet_and_movies(
    run: Path, folder: Path, tmp_path: Path, command: Command
) -> None:
    line = f"interpolate {run} {folder}/0.png {folder}/1.png -o {tmp_path}/o --frames 4"
    outcome = command(f"{line} --steps 3 --levels 0,2 --json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["levels"] == [0, 2]
    height, width = HyperModel.load(run).model(read_photo(folder / "0.png")).size
    with Image.open(tmp_path / "o" / "sheet.png") as page:
        assert page.size == (3 * (width + 4) + 4, 2 * (height + 4) + 4)
    with Image.open(tmp_path / "o" / "level-2.gif") as movie:
        assert movie.size == (width, height)
    assert command(line).code == 2  # nothing is overwritten


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sample {run} -o {out}", "is a hypernetwork, which has no pictures of its own"),
        ("model {model} {photo} -o {out}.safetensors", "is a model of one photo, not a hyper"),
        ("model {run} {photo} -o {out}", "is no name of a model; use one that ends in .safet"),
        ("model {run} {photo} -o {out} --adapt 0", "cannot adapt for 0 steps; use 1 or more."),
        ("interpolate {run} {photo} {photo} -o {out} --levels 0,9", "write numbers from 0 to 2."),
        ("interpolate {run} {photo} {photo} -o {out} --steps 1", "use 2 or more."),
        ("interpolate {run} {photo} {photo} -o {out} --frames -1", "use 0 or more."),
        ("train {folder} -o {out}", "or --preset meta-small for one model of all."),
        ("train {folder} --preset meta-small -o {out} --mask m.png", "does not go with a folder"),
    ],
)
def test_mistakes_are_one_line(
    line: str, message: str, run: Path, folder: Path, tmp_path: Path, command: Command
) -> None:
    model = tmp_path / "one.safetensors"
    HyperModel.load(run).model(read_photo(folder / "0.png")).save(model)
    places = {"run": run, "photo": folder / "0.png", "folder": folder, "model": model}
    outcome = command(line.format(**places, out=tmp_path / "out"))
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_refused(run: Path, tmp_path: Path) -> None:
    data = bytearray((run / "model.safetensors").read_bytes())
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFileError, match="is no model, or is damaged"):
        HyperModel.load(tmp_path / "cut.safetensors")


# Leakage -----------------------------------------------------------------------------------------


def test_patches_are_found_in_the_photo_they_come_from(photos: list[Photo]) -> None:
    images = [photo.colors() for photo in photos]
    owners = PatchOwners(images)
    assert [owners.leaked(image, i) for i, image in enumerate(images)] == [0.0, 0.0, 0.0]
    assert owners.leaked(images[0], 1) == 1.0
    half = torch.cat([images[0][:, :24], images[2][:, 24:40]], 1)
    assert owners.leaked(half, 0) == pytest.approx(16 / 40)
    with pytest.raises(ArgumentError, match="one photo leaks into no other"):
        PatchOwners(images[:1])
