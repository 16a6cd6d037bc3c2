"""Recipes for tasks: what they change, that they train, and fine-tuning."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from singleimage import PRESETS, Model, Photo, Recipe, Trainer, read_photo, with_overrides
from singleimage.errors import ImageError, RecipeError, RunError, UnsupportedEntry
from singleimage.generators.base import Injection
from singleimage.generators.cascade import Cascade
from singleimage.generators.palette import in_colors, main_colors
from singleimage.images.photo import Channels
from singleimage.multiscale.geometry import Size, size_of
from singleimage.multiscale.resample import resize
from singleimage.recipes.base_input import AugmentedInput, GivenInput, NoiseInput, ShuffledInput
from singleimage.recipes.overrides import fields_of
from singleimage.recipes.presets import preset
from singleimage.recipes.tasks import for_task, upscaling_passes, upscaling_ratio
from singleimage.training.run import Run, Tuning
from tiny import Command

TINY = {
    "training.steps": "2",
    "pyramid.max_size": "48",
    "pyramid.width": "46",
    "generator.width": "4",
    "generator.width.base": "4",
    "generator.latent": "4",
    "critic.width.base": "4",
    "critic.width": "4",
    "generator.embedding.width": "4",
    "generator.embedding.view": "64",
    "generator.embedding.blocks": "[1, 1, 1, 1]",
    "critic.embedding.width": "4",
    "critic.embedding.view": "64",
    "critic.embedding.blocks": "[1, 1, 1, 1]",
}
TASKS = ["harmonize", "edit", "paint", "animate", "video", "upscale:2"]


def tiny(recipe: Recipe) -> Recipe:
    return with_overrides(recipe, {k: v for k, v in TINY.items() if k in fields_of(recipe)})


@pytest.fixture(scope="module")
def photo(photo_file: Path) -> Photo:
    return read_photo(photo_file)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"meta-single", "meta-small"}))
def test_every_preset_trains_for_every_task_or_says_why_not(
    name: str, task: str, photo: Photo
) -> None:
    base = tiny(preset(name))
    if task.startswith("upscale") and name != "singan":
        with pytest.raises(RecipeError, match="use --preset singan"):
            for_task(base, task)
        return
    if task == "video" and name != "hp-vae-gan":
        with pytest.raises(RecipeError, match="use --preset hp-vae-gan for video"):
            for_task(base, task)
        return
    recipe = for_task(base, task)
    if task == "video":
        with pytest.raises(ImageError, match="a clip of 13 frames or more is needed, not 1"):
            Trainer(photo, recipe, seed=0, device="cpu")
        return
    trainer = Trainer(photo, recipe, seed=0, device="cpu", precision="fp32")
    for _ in trainer:
        pass
    assert next(trainer.model().sample([0])).size == trainer.model().size
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_the_published_modes_of_consingan() -> None:
    harmonize = for_task(preset("consingan"), "harmonize")
    assert harmonize.pyramid.plan(Size(188, 250)).sizes[0] == Size(120, 160)
    assert len(harmonize.pyramid.plan(Size(188, 250)).sizes) == 3
    assert fields_of(harmonize)["generator.slope"] == fields_of(harmonize)["critic.slope"] == 0.3
    assert harmonize.training.steps == 1000
    assert isinstance(harmonize.base_input, AugmentedInput)
    edit = for_task(preset("consingan"), "edit")
    assert fields_of(edit)["generator.anchor_noise"] == 0.1
    assert isinstance(edit.base_input, ShuffledInput)
    assert fields_of(edit)["generator.edge"] == "zero"
    assert fields_of(for_task(preset("consingan"), "animate"))["generator.anchor"] == "noise"
    assert for_task(preset("singan"), "harmonize") == preset("singan")


@pytest.mark.parametrize(
    ("factor", "passes", "ratio"),
    [(2, 3, 2 ** (1 / 3)), (3, 5, 1.2457), (4, 6, 1.2599), (8, 9, 1.26)],
)
def test_the_published_passes_of_super_resolution(factor: float, passes: int, ratio: float) -> None:
    assert upscaling_passes(factor) == passes
    assert upscaling_ratio(factor) == pytest.approx(ratio, abs=1e-4)
    recipe = for_task(preset("singan"), f"upscale:{factor}")
    assert fields_of(recipe)["pyramid.factor"] == pytest.approx(1 / ratio, abs=1e-4)
    assert fields_of(recipe)["phases.0.objective.reconstruction_weight"] == 100
    assert fields_of(recipe)["pyramid.min_size"] == 18


@pytest.mark.parametrize(
    "task", ["nonsense", "upscale:1", "upscale:0.5", "upscale:x", "upscale:99"]
)
def test_tasks_that_there_are_not(task: str) -> None:
    with pytest.raises(RecipeError, match=r"no task|out of range|no factor"):
        for_task(preset("singan"), task)


# Feeds -------------------------------------------------------------------------------------------


def image(channels: int = 3) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(90.0), torch.arange(120.0), indexing="ij")
    planes = [torch.sin(x / (5 + c)) * torch.cos(y / (7 + c)) for c in range(channels)]
    return torch.stack(planes)[None] * 0.9


@pytest.mark.parametrize("feed", [AugmentedInput(), AugmentedInput(change=1.0), ShuffledInput()])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_feed_changes_the_photo_by_its_seed_alone(
    feed: AugmentedInput | ShuffledInput, channels: int
) -> None:
    photo = image(channels)
    before = photo.clone()
    found = [feed.base(photo, seed) for seed in range(6)]
    assert torch.equal(photo, before)
    for seed, base in enumerate(found):
        assert base is not None
        assert base.shape == photo.shape
        assert bool(torch.isfinite(base).all())
        again = feed.base(photo, seed)
        assert again is not None
        assert torch.equal(base, again)
    assert len({float(base.sum()) for base in found if base is not None}) > 3
    assert NoiseInput().base(photo, 0) is None


def test_holes_have_one_color_and_the_published_sizes() -> None:
    photo = image()
    areas = []
    for seed in range(40):
        base = AugmentedInput(change=0.0, holes=1.0).base(photo, seed)
        assert base is not None
        changed = (base != photo).all(dim=1)[0]
        values = base[0][:, changed]
        assert torch.equal(values.amax(dim=1), values.amin(dim=1))
        areas.append(int(changed.sum()))
    assert min(areas) >= 15 * 15
    assert max(areas) <= 60 * 60
    assert max(areas) > 2 * 30 * 30  # some are one large hole


def test_tiles_come_from_the_photo_itself() -> None:
    photo = image()
    moved = 0
    for seed in range(30):
        base = ShuffledInput(noise=0.0).base(photo, seed)
        assert base is not None
        changed = (base != photo).any(dim=1)[0]
        moved += bool(changed.any())
        known = set(photo[0, 0].flatten().tolist())
        assert set(base[0, 0].flatten().tolist()) <= known
        assert float(changed.float().mean()) < 0.6
    assert moved > 20


def test_colors_change_in_all_the_published_ways() -> None:
    photo = image()
    found = [AugmentedInput(change=1.0, holes=0.0).base(photo, seed) for seed in range(80)]
    assert any(b is not None and torch.equal(b, -photo) for b in found), "inverted"
    assert any(b is not None and bool((b == -1).all(dim=(0, 2, 3)).any()) for b in found), "dropped"
    orders = [photo[:, list(p)] for p in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1))]
    assert any(b is not None and torch.equal(b, o) for b in found for o in orders), "permuted"
    noisy = [b for b in found if b is not None and 0 < float((b - photo).abs().mean()) < 0.2]
    assert noisy, "noise"


# Palettes ----------------------------------------------------------------------------------------


def test_main_colors_are_the_colors_there_are() -> None:
    colors = torch.tensor([[0.9, -0.8, 0.1], [-0.9, 0.3, 0.2], [0.0, 0.0, 0.0]])
    picks = torch.randint(3, (40, 50), generator=torch.Generator().manual_seed(0))
    photo = colors[picks].permute(2, 0, 1)[None]
    found = main_colors(photo, 3, seed=1)
    assert torch.cdist(found, colors).amin(dim=0).max() < 1e-6
    grain = torch.randn(photo.shape, generator=torch.Generator().manual_seed(1)) * 0.05
    torch.testing.assert_close(in_colors(photo + grain, colors), photo)
    assert main_colors(torch.zeros(1, 3, 8, 8), 4, seed=0).shape == (4, 3)


def test_paint_enters_in_the_main_colors_of_the_photo(photo: Photo) -> None:
    recipe = for_task(tiny(preset("singan")), "paint")
    trainer = Trainer(photo, recipe, seed=0, device="cpu", precision="fp32")
    for _ in trainer:
        pass
    generator = trainer.learner
    assert isinstance(generator, Cascade)
    latent = generator.draw(generator.ladder.sizes, [0])
    known = {tuple(color) for color in generator.palette.tolist()}
    assert len(known) == 5
    image = photo.pixels[None, :, :30, :40]
    for level, limited in ((1, False), (2, True)):
        found = generator.enlarged(image, latent, level)
        colors = {tuple(pixel) for pixel in found[0].flatten(1).T.tolist()}
        assert (colors <= known) is limited


# Norms of pictures that enter --------------------------------------------------------------------


def test_norms_hold_the_photos_statistics_for_a_picture_that_enters(photo: Photo) -> None:
    """So the photo itself is reproduced, and a change here does nothing far away."""
    own = with_overrides(
        tiny(for_task(preset("consingan"), "edit")),
        {"generator.entry_norm": "own", "pyramid.min_size": "26", "pyramid.levels": "3"},
    )
    held = with_overrides(own, {"generator.entry_norm": "photo"})
    trainer = trained(own, photo, None)
    model = trainer.model()
    other = Model(
        held.generator.build(channels=3, ladder=model.generator.ladder),
        held,
        model.channels,
        model.provenance,
        model.image,
    )
    for _ in model.generator.ladder.sizes:
        other.generator.extend(None)
    other.generator.load_state_dict(model.generator.state_dict())
    anchor = model.generator.anchor()
    base = torch.as_tensor(anchor.maps[0])
    changed = base.clone()
    changed[..., :4, :4] = 3.0
    far = slice(-8, None)
    shifts = []
    for generator in (model.generator, other.generator):
        whole = generator.decode(anchor)
        torch.testing.assert_close(generator.decode(anchor, Injection(0, base)), whole)
        moved = generator.decode(anchor, Injection(0, changed))
        shifts.append(float((moved - whole)[..., far, far].abs().max()))
        assert torch.equal(generator.decode(anchor), whole)  # nothing is held afterwards
    assert shifts[1] < 1e-5 < 1e-4 < shifts[0]


# Fine-tuning -------------------------------------------------------------------------------------


def trained(recipe: Recipe, photo: Photo, given: Photo | None) -> Trainer:
    trainer = Trainer(photo, recipe, seed=0, device="cpu", precision="fp32", given=given)
    for _ in trainer:
        pass
    return trainer


@pytest.fixture(scope="module")
def harmonizing() -> Recipe:
    recipe = tiny(for_task(preset("consingan"), "harmonize"))
    return with_overrides(recipe, {"training.steps": "20", "pyramid.min_size": "25"})


def pasted_in(photo: Photo) -> Photo:
    pixels = photo.pixels.clone()
    pixels[:, 10:20, 10:20] = 1
    return replace(photo, pixels=pixels, sha256="pasted")


def test_tuning_feeds_the_given_picture_to_the_finest_level_alone(
    photo: Photo, harmonizing: Recipe
) -> None:
    trainer = trained(harmonizing, photo, pasted_in(photo))
    untuned = trained(harmonizing, photo, None)
    for name, tensor in untuned.learner.state_dict().items():  # what is given waits for `tune`
        assert torch.equal(trainer.learner.state_dict()[name], tensor)
    coarsest = trainer.example.images[0]
    expected = resize(pasted_in(photo).pixels[None], size_of(coarsest))
    trainer.tune()
    assert torch.equal(torch.as_tensor(trainer._base_input(7)), expected)
    assert [(p.level, p.step) for p in trainer] == [(2, step) for step in range(1, 21)]
    assert trainer.finished
    after = trainer.learner.state_dict()
    assert any(not torch.equal(after[name], t) for name, t in untuned.learner.state_dict().items())


def test_what_cannot_be_tuned_is_said(photo: Photo, harmonizing: Recipe) -> None:
    given = pasted_in(photo)
    with pytest.raises(RunError, match="not finished"):
        Trainer(photo, harmonizing, seed=0, device="cpu", given=given).tune()
    with pytest.raises(RunError, match="no picture to tune on"):
        trained(harmonizing, photo, None).tune()
    with pytest.raises(UnsupportedEntry, match="no picture at level 0"):
        Trainer(photo, tiny(preset("singan")), seed=0, device="cpu", given=given)
    gray = Photo(photo.pixels[:1], Channels(mode="L"))
    with pytest.raises(ImageError, match="other channels"):
        Trainer(photo, harmonizing, seed=0, device="cpu", given=gray)


def test_a_given_picture_comes_with_noise_if_the_recipe_trained_with_it() -> None:
    photo = image()
    assert torch.equal(GivenInput(photo, 0.0).base(photo, 1), photo)
    noisy = GivenInput(photo, 0.1).base(photo, 1)
    assert 0.05 < float((noisy - photo).std()) < 0.15


# The command line --------------------------------------------------------------------------------


def test_a_model_is_trained_for_a_task_and_enlarges(
    command: Command, photo_file: Path, tmp_path: Path
) -> None:
    line = f"train {photo_file} -o {tmp_path}/run --preset singan --for upscale:2 --steps 2"
    done = command(f"{line} --set generator.width.base=4 --set critic.width.base=4")
    assert done.code == 0, done.err
    line = f"upscale {tmp_path}/run --factor 2 --json -o {tmp_path}"
    for words in ("x.png", "same.png --strength 0.7", "published.png --strength 1"):
        done = command(f"{line}/{words}")
        assert done.code == 0, done.err
    made, same, other = (
        (tmp_path / name).read_bytes() for name in ("x.png", "same.png", "published.png")
    )
    assert made == same != other
    assert read_photo(tmp_path / "x.png").size == Size(88, 104)
    done = command(
        f"upscale {tmp_path}/run -o {tmp_path}/y.png --factor 2 --truth {tmp_path}/x.png"
    )
    assert done.code == 0, done.err
    assert "psnr_ours 126" in done.out  # it is the truth itself, as far as is counted
    assert "ssim_bicubic" in done.out


TUNABLE = (
    "--preset consingan --for harmonize --steps 3 --set pyramid.min_size=25 "
    "--set pyramid.max_size=48 --set generator.width=4 --set critic.width.base=4"
)


def test_a_finished_run_is_tuned_on_a_picture_and_the_tuning_continues(
    command: Command, photo_file: Path, tmp_path: Path
) -> None:
    photo = read_photo(photo_file)
    alpha = torch.full_like(photo.pixels[:1], -1)
    alpha[:, 10:20, 10:20] = 1
    red = torch.cat([torch.ones_like(alpha), -torch.ones_like(alpha).repeat(2, 1, 1), alpha])
    Photo(red, Channels(mode="RGBA")).save(tmp_path / "pasted.png")
    assert command(f"train {photo_file} -o {tmp_path}/run {TUNABLE}").code == 0
    line = f"tune {tmp_path}/run {photo_file} {tmp_path}/pasted.png --steps 4 -o"
    done = command(f"{line} {tmp_path}/tuned")
    assert done.code == 0, done.err
    start, tuned = (Model.load(tmp_path / name) for name in ("run", "tuned"))
    weights, moved = start.generator.state_dict(), tuned.generator.state_dict()
    assert tuned.recipe.training.steps == 4
    assert any(not torch.equal(moved[name], weights[name]) for name in weights)
    again = command(f"{line} {tmp_path}/tuned")
    assert "is complete" in again.err
    lines = (tmp_path / "tuned" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["level"] for line in lines] == [2]
    other = command(f"tune {tmp_path}/run {photo_file} {photo_file} --steps 4 -o {tmp_path}/tuned")
    assert other.code == 2
    assert "another picture to tune on" in other.err


def test_a_stopped_tuning_ends_as_one_that_was_not(
    photo: Photo, harmonizing: Recipe, tmp_path: Path
) -> None:
    def train(name: str, tuning: Tuning | None = None, stop: int = 0) -> list[int]:
        run = Run(tmp_path / name, photo, harmonizing, seed=0, device="cpu", tuning=tuning)
        steps = []
        for progress in run:
            steps.append(progress.step)
            if progress.step == stop:
                run.save()
                break
        return steps

    train("start")
    tuning = Tuning(tmp_path / "start", pasted_in(photo))
    assert train("whole", tuning) == list(range(1, 21))
    assert train("parts", tuning, stop=7) + train("parts", tuning) == list(range(1, 21))
    whole, parts = (Model.load(tmp_path / name).generator for name in ("whole", "parts"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name])


def test_what_a_tuning_cannot_start_from_is_said_in_one_line(
    command: Command, photo_file: Path, tiny_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = tiny_runs["consingan"]
    pasted_in(read_photo(photo_file)).save(tmp_path / "other.png")
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "state.pt").unlink()
    for line, words in (
        (f"tune {tmp_path}/none {photo_file} {photo_file} -o {tmp_path}/t", "holds no run"),
        (f"tune {run} {tmp_path}/other.png {photo_file} -o {tmp_path}/t", "another photo"),
        (f"tune {tmp_path}/unfinished {photo_file} {photo_file} -o {tmp_path}/t", "not finished"),
        (f"tune {tiny_runs['singan']} {photo_file} {photo_file} -o {tmp_path}/t", "at level 0"),
    ):
        done = command(line)
        assert done.code == 2, line
        assert len(done.err.strip().splitlines()) == 1
        assert words in done.err


def test_what_cannot_be_trained_or_enlarged_is_said_in_one_line(
    command: Command, photo_file: Path, tiny_runs: dict[str, Path], tmp_path: Path
) -> None:
    for line, words in (
        (f"train {photo_file} -o {tmp_path}/r --for nonsense", "no task 'nonsense'"),
        (f"train {photo_file} -o {tmp_path}/r --for upscale:4", "use --preset singan"),
        (f"upscale {tiny_runs['singan']} -o {tmp_path}/x.png --factor 1", "out of range"),
        (f"upscale {tiny_runs['singan']} -o {tmp_path}/x.png --strength 2", "strength of 2 is out"),
        (f"upscale {tiny_runs['consingan']} -o {tmp_path}/x.png", "cannot take an image"),
        (
            f"upscale {tiny_runs['singan']} -o {tmp_path}/z.png --factor 2 --truth {photo_file}",
            "the truth is",
        ),
    ):
        done = command(line)
        assert done.code == 2, line
        assert len(done.err.strip().splitlines()) == 1
        assert words in done.err
    assert not (tmp_path / "x.png").exists()
