"""Clips: read, learned, drawn, written; and refused where a photo is meant."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from singleimage import Channels, Trainer, read_photo, with_overrides
from singleimage.apps.animate import animate
from singleimage.apps.inject import inject
from singleimage.apps.sample import seam
from singleimage.errors import ArgumentError, ImageError, UnsupportedEntry
from singleimage.images.clip import Clip, read_clip
from singleimage.models.model import Model
from singleimage.multiscale.geometry import Size, Window
from singleimage.multiscale.latent import Noise
from singleimage.multiscale.pyramid import Pyramid, WidthPyramid
from singleimage.multiscale.resample import bilinear, enlarge, resize, retimed
from singleimage.recipes.presets import HP_VAE_GAN
from singleimage.recipes.recipe import Recipe
from singleimage.recipes.tasks import for_video
from singleimage.training.planning import count_parameters, plan_training
from tiny import Command

FIELDS = {
    "pyramid.width": "24",
    "pyramid.min_width": "13",
    "pyramid.strides": "[3,2,1]",
    "generator.width": "4",
    "generator.latent": "4",
    "generator.depth": "2",
    "critic.width": "4",
    "critic.depth": "2",
    "training.steps": "2",
}
TINY = with_overrides(for_video(HP_VAE_GAN), FIELDS)
"""Five levels, of 3, 3, 4, 4 and 7 frames."""


SHAPES = "3x10x13 3x13x16 4x15x18 4x17x21 7x20x24"


def waves(frames: int, height: int = 20, width: int = 24) -> Tensor:
    """(3, T, H, W) in [-1, 1]: no frame is like another."""
    t, y, x = torch.meshgrid(*(torch.arange(n) for n in (frames, height, width)), indexing="ij")
    return torch.stack([(x / 4 + t / 3).sin(), (y / 3 - t / 4).cos(), (x * y / 40 + t / 5).sin()])


def clip(frames: int = 9) -> Clip:
    return Clip(waves(frames), Channels(mode="RGB"), fps=8.0)


def trained(recipe: Recipe = TINY, frames: int = 9, **settings: Any) -> Trainer:
    trainer = Trainer(clip(frames), recipe, seed=3, device="cpu", precision="fp32", **settings)
    for _ in trainer:
        pass
    return trainer


@pytest.fixture(scope="module")
def model() -> Model:
    return trained().model()


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.double() - b.double()).abs().max().item()


# Files --------------------------------------------------------------------------------------------


def as_bytes(pixels: Tensor) -> np.ndarray[Any, Any]:
    """(T, H, W, 3)."""
    return pixels.add(1).mul(127.5).round().byte().permute(1, 2, 3, 0).numpy()


@pytest.mark.parametrize(
    ("suffix", "apart"), [(".gif", 0.2), (".webp", 0.12), (".mp4", 0.25), (".webm", 0.25)]
)
def test_a_clip_comes_back_from_its_file(suffix: str, apart: float, tmp_path: Path) -> None:
    """As far as its format keeps colors."""
    made = clip()
    made.save(tmp_path / f"a{suffix}")
    read = read_clip(tmp_path / f"a{suffix}")
    assert read.pixels.shape == made.pixels.shape
    assert read.fps == pytest.approx(8, rel=0.05)
    assert (read.pixels - made.pixels).abs().mean() < apart
    assert read.sha256
    shifted = made.pixels.roll(1, 1)
    assert (read.pixels - made.pixels).abs().mean() < (read.pixels - shifted).abs().mean()


def test_a_folder_of_frames_is_a_clip_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = as_bytes(waves(11))
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame{i}.png")
    read = read_clip(tmp_path)
    assert read.fps == 10
    assert (as_bytes(read.pixels) == frames).all()
    assert [photo.size for photo in read.frames] == [Size(20, 24)] * 11
    assert torch.equal(read.frames[10].pixels, read_photo(tmp_path / "frame10.png").pixels)


def test_frames_of_a_gif_are_those_that_were_written(tmp_path: Path) -> None:
    colors = [Image.new("RGB", (5, 4), color) for color in ("red", "lime", "blue")]
    colors[0].save(tmp_path / "a.gif", save_all=True, append_images=colors[1:], duration=250)
    read = read_clip(tmp_path / "a.gif")
    assert as_bytes(read.pixels)[:, 0, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert read.fps == 4


def broken(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(b"nothing that moves")
        return path

    return write


def unlike(folder: Path) -> Path:
    for i, size in enumerate([(5, 4), (6, 4)]):
        Image.new("RGB", size).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (broken("a.gif"), "is no movie, or is damaged"),
        (broken("a.mp4"), "is no video, or is damaged"),
        (lambda folder: folder / "a.gif", "does not exist"),
        (unlike, "1.png is 4x6, RGB, the first frame 4x5, RGB"),
        (lambda folder: folder, "holds no pictures"),
    ],
    ids=["gif", "video", "nothing", "unlike", "empty"],
)
def test_what_is_no_clip_is_refused(
    write: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=words):
        read_clip(write(tmp_path))


def test_a_clip_with_too_many_pixels_is_refused_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(40).save(tmp_path / "a.gif")
    monkeypatch.setattr("singleimage.images.movie.PIXEL_LIMIT", 39 * 20 * 24)
    with pytest.raises(ImageError, match="megapixels in all its frames; cut or reduce it"):
        read_clip(tmp_path / "a.gif")
    (tmp_path / "frames").mkdir()
    for i, frame in enumerate(clip(3).frames):
        frame.save(tmp_path / "frames" / f"{i}.png")
    assert read_clip(tmp_path / "frames").pixels.shape == (3, 3, 20, 24)
    monkeypatch.setattr("singleimage.images.clip.PIXEL_LIMIT", 3 * 20 * 24 - 1)
    with pytest.raises(ImageError, match="megapixels in all its frames; take some out"):
        read_clip(tmp_path / "frames")


def test_a_frame_too_large_to_be_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip().save(tmp_path / "a.gif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"is no movie, or is damaged: .* exceeds limit"):
        read_clip(tmp_path / "a.gif")


def test_a_preview_shows_five_frames_from_the_first_to_the_last() -> None:
    strip = np.asarray(clip().preview())
    frames = as_bytes(waves(9))
    assert (strip == np.concatenate(frames[[0, 2, 4, 6, 8]], axis=1)).all()
    assert Clip(waves(2), Channels(mode="RGB")).preview(10).size == (20, 8)


# Levels -------------------------------------------------------------------------------------------


def test_levels_have_the_published_numbers_of_frames() -> None:
    """Frame rates follow the level: floor(3 i / 9) of strides 4, 3, 2, 1; 12 frames are spanned."""
    ladder = for_video(HP_VAE_GAN).pyramid.plan(Size(144, 256))
    assert [ladder.frames(level) for level in range(10)] == [4, 4, 4, 5, 5, 5, 7, 7, 7, 13]
    assert ladder.shape(9) == (13, 144, 256)
    assert ladder.truncated(4).shape(-1) == (5, *ladder.sizes[3])


def test_levels_begin_and_end_with_the_same_frames() -> None:
    law = WidthPyramid(width=24, min_width=13, strides=(3, 2, 1), quantize=False)
    pixels = waves(9)[None]
    reel = Pyramid.build(pixels, law)
    for start in (0, 2):
        part = reel.excerpt(start)
        strides = (3, 3, 2, 2, 1)
        for image, size, stride in zip(part.images, part.ladder.sizes, strides, strict=True):
            chosen = pixels[:, :, start : start + 7 : stride]
            ends = pixels[:, :, start], pixels[:, :, start + 6]
            assert difference(image[:, :, 0], bilinear(ends[0], size)) < 1e-6
            assert difference(image[:, :, -1], bilinear(ends[1], size)) < 1e-6
            assert difference(image, bilinear(chosen, size)) < 1e-6


def test_clips_are_reduced_frame_by_frame_by_either_law() -> None:
    pixels = waves(7)[None]
    for resampling, reduce in (("bilinear", bilinear), ("bicubic", resize)):
        fields = {"pyramid.resampling": resampling, "pyramid.quantize": "false"}
        law = with_overrides(TINY, fields).pyramid
        reel = Pyramid.build(pixels, law)
        for image, size in zip(reel.images, reel.ladder.sizes, strict=True):
            frames = [reduce(frame, size) for frame in pixels.unbind(2)]
            assert difference(image, torch.stack(frames, 2)) < 1e-5


def test_time_is_enlarged_as_rows_and_columns_are() -> None:
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64).requires_grad_()
    found = retimed(enlarge(x, Size(8, 9)), 7)
    expected = F.interpolate(x, (7, 8, 9), mode="trilinear", align_corners=True)
    assert difference(found, expected) < 1e-12
    ours, theirs = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
    assert difference(ours, theirs) < 1e-12


def test_noise_of_clips_has_no_order_and_no_repetition() -> None:
    like = torch.empty(0)
    drawn = Noise((1, 2), 3, Size(150, 9), like, frames=5).drawn()
    assert drawn.shape == (2, 3, 5, 150, 9)
    flat = drawn.transpose(1, 2).reshape(2 * 5 * 3, -1)
    assert (torch.corrcoef(flat) - torch.eye(30)).abs().max() < 0.15
    assert abs(float(drawn.std()) - 1) < 0.03
    window = Noise((1, 2), 3, Size(150, 9), like, frames=5)
    part = window.drawn(Window(120, 2, 20, 4))
    assert torch.equal(part, drawn[..., 120:140, 2:6])


# Training -----------------------------------------------------------------------------------------


def test_networks_have_three_axes_and_the_counts_of_the_published_code() -> None:
    """27 weights in place of 9: counted by hand from the layers."""
    recipe = for_video(HP_VAE_GAN)
    ladder = recipe.pyramid.plan(Size(144, 256))

    def layer(c_in: int, c_out: int) -> int:
        return 27 * c_in * c_out + c_out

    encoder = layer(3, 64) + 2 * layer(64, 64) + 2 * layer(64, 128)
    body = 5 * (layer(64, 64) + 128) + 128 + layer(64, 3)
    decoder, block = layer(128, 64) + body, layer(3, 64) + body
    critic = layer(3, 64) + 5 * layer(64, 64) + layer(64, 1)
    assert count_parameters(recipe, ladder) == (encoder + decoder + 9 * block, critic)


def test_steps_look_at_any_part_of_a_long_clip() -> None:
    trainer = Trainer(clip(12), TINY, seed=3, device="cpu")
    reel = Pyramid.build(waves(12)[None], TINY.pyramid)
    starts = set()
    for step in range(60):
        seen = trainer._batch(step).images[-1]
        fits = [i for i in range(6) if torch.equal(seen, reel.excerpt(i).images[-1])]
        assert len(fits) == 1
        starts |= set(fits)
        assert step or fits == [0]
    assert starts == set(range(6))
    again = Trainer(clip(12), TINY, seed=3, device="cpu")
    assert torch.equal(again._batch(7).images[0], trainer._batch(7).images[0])


@pytest.mark.parametrize("stop", [1, 7])
def test_a_stopped_training_of_a_clip_ends_with_the_same_weights(stop: int) -> None:
    whole = trained()
    first, second = (Trainer(clip(), TINY, seed=3, device="cpu", precision="fp32") for _ in "12")
    for _, _ in zip(range(stop), first, strict=False):
        pass
    second.load_state_dict(deepcopy(first.state_dict()))
    for _ in second:
        pass
    ours, theirs = whole.state_dict()["learner"], second.state_dict()["learner"]
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norm", ["image", "running"])
def test_a_clip_trains_in_every_precision_and_with_every_norm(precision: Any, norm: str) -> None:
    recipe = with_overrides(TINY, {"generator.decode_norm": norm, "training.batch": "2"})
    trainer = Trainer(clip(), recipe, seed=3, device="cpu", precision=precision)
    for progress in trainer:
        assert all(np.isfinite(loss) for loss in progress.losses.values())
    drawn = list(trainer.model().sample([0, 1]))
    assert drawn[0].pixels.shape == (3, 7, 20, 24)
    assert difference(drawn[0].pixels, drawn[1].pixels) > 0.01


def test_a_clip_is_memorized_by_an_autoencoder_that_learns_long_enough() -> None:
    """Its reconstruction moves as the clip does, not as the clip backward."""
    fields = FIELDS | {
        "generator.width": "16",
        "training.steps": "80",
        "pyramid.width": "16",
        "generator.vae_levels": "2",
        "generator.noise_from": "2",
        "phases.1.from_level": "2",
    }
    trainer = Trainer(clip(7), with_overrides(for_video(HP_VAE_GAN), fields), seed=0, device="cpu")
    for progress in trainer:
        if progress.level == 1 and progress.level_done:
            break
    model = trainer.model()
    photo, made = model.training_image(), model.reconstruct()
    assert photo is not None
    errors = [
        float((made.pixels - x).square().mean()) for x in (photo.pixels, photo.pixels.flip(1))
    ]
    assert errors[0] < 0.5 * errors[1]
    assert errors[0] < 0.5 * float(photo.pixels.var())


# Drawing ------------------------------------------------------------------------------------------


def test_a_clip_depends_on_its_seed_alone(model: Model) -> None:
    one, many = next(model.sample([5])), list(model.sample([4, 5, 6]))
    assert isinstance(one, Clip)
    assert one.fps == 8
    assert torch.equal(one.pixels, many[1].pixels)
    assert difference(many[0].pixels, many[1].pixels) > 0.01


def test_clips_of_any_size_and_length(model: Model) -> None:
    assert next(model.sample([0], size=(30, 25))).pixels.shape == (3, 7, 30, 25)
    assert next(model.sample([0], frames=19)).pixels.shape == (3, 19, 20, 24)
    assert next(model.sample([0], frames=4)).pixels.shape == (3, 4, 20, 24)
    assert torch.equal(next(model.sample([0], frames=7)).pixels, next(model.sample([0])).pixels)
    assert model.generator.ladder.frames(-1) == 7
    with pytest.raises(
        ArgumentError, match="3 frames are too few for this model; ask for 4 or more"
    ):
        model.sample([0], frames=3)
    with pytest.raises(ArgumentError, match="drop one of the two"):
        model.sample([0], frames=9, start_level=1)


def test_a_kept_layout_keeps_the_coarse_clip(model: Model) -> None:
    """Above it noise is small: the clips are nearly alike, and like what reproduces the photo."""
    kept, free = (model.sample([1, 2], start_level=level) for level in (3, 0))
    near, far = (difference(a.pixels, b.pixels) for a, b in (kept, free))
    assert near < far


def test_a_period_can_be_repeated(model: Model) -> None:
    g = model.generator
    assert all(part.dim() == 5 for part in g.draw(g.ladder.sizes, [3], (True, True)).tensors())
    wrapped = [seam(next(model.sample([i], tile="xy")).pixels) for i in range(6)]
    open_ = [seam(next(model.sample([i])).pixels) for i in range(6)]
    assert np.mean(wrapped) < np.mean(open_)


def test_a_model_of_a_clip_is_saved_and_read(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.safetensors")
    read = Model.load(tmp_path / "m.safetensors", precision="fp32")
    assert torch.equal(next(read.sample([1])).pixels, next(model.sample([1])).pixels)
    photo = read.training_image()
    assert isinstance(photo, Clip)
    assert photo.pixels.shape == (3, 7, 20, 24)
    assert read.provenance.fps == 8
    assert read.suffix == ".gif"


def test_applications_of_photos_refuse_a_model_of_a_clip(model: Model) -> None:
    image = torch.zeros(1, 3, 20, 24)
    with pytest.raises(UnsupportedEntry, match="this model accepts none"):
        inject(model.generator, image, level=1)
    with pytest.raises(ImageError, match="take its `frames`"):
        next(model.sample([0])).colors()
    with pytest.raises(UnsupportedEntry, match="a model of a clip moves by itself"):
        animate(model.generator, frames=2, seed=0)


def test_photos_and_clips_are_not_taken_for_each_other(photo_file: Path) -> None:
    photo = read_photo(photo_file)
    with pytest.raises(ImageError, match="a clip of 7 frames or more is needed, not 1"):
        Trainer(photo, TINY, seed=0, device="cpu")
    with pytest.raises(ImageError, match="a clip of 7 frames or more is needed, not 6"):
        Trainer(clip(6), TINY, seed=0, device="cpu")
    with pytest.raises(ImageError, match="hp-vae-gan learns photos"):
        Trainer(clip(), HP_VAE_GAN, seed=0, device="cpu")


def test_a_plan_tells_frames() -> None:
    levels = plan_training(clip(), TINY, seed=0, device="cpu")
    assert [level.text for level in levels] == SHAPES.split()


# Commands -----------------------------------------------------------------------------------------


LEARN = "--preset hp-vae-gan --for video " + " ".join(f"--set {k}={v}" for k, v in FIELDS.items())


def test_the_commands_learn_a_clip_and_draw_new_ones(command: Command, tmp_path: Path) -> None:
    source, run, out = tmp_path / "a.gif", tmp_path / "run", tmp_path / "out"
    clip().save(source)
    done = command(f"train {source} {LEARN} -o {run}")
    assert done.code == 0, done.err
    assert (run / "previews" / "level-3.png").exists()
    assert "is complete" in command(f"train {source} {LEARN} -o {run}").err
    done = command(f"sample {run} -n 2 --frames 9 -o {out} --json")
    assert done.code == 0, done.err
    names = [Path(file).name for file in json.loads(done.out)["files"]]
    assert names == ["0000.gif", "0001.gif", "sheet.png"]
    assert read_clip(out / "0001.gif").pixels.shape == (3, 9, 20, 24)
    assert read_photo(out / "sheet.png").size.width > 5 * 24
    done = command(f"reconstruct {run} -o {tmp_path / 'r.webp'}")
    assert done.code == 0, done.err
    assert "mean squared error" in done.out
    facts = json.loads(command(f"info {run} --json").out)
    assert facts["levels"][-1] == [7, 20, 24]
    assert facts["fps"] == pytest.approx(8, rel=0.05)
    done = command(f"train {source} {LEARN} --dry-run")
    assert "7x20x24" in done.out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sample {photo_model} --frames 9 {out}", "a model of a photo draws no clips"),
        ("animate {model} {out}", "is a model of a clip; draw new clips with: singleimage sample"),
        ("evaluate {model}", "is a model of a clip"),
        ("train {clip} --mask {clip} {learn} {out}", "--mask does not go with a clip"),
        ("train {clip} --each {learn} {out}", "--for video does not go with --each"),
        ("train {photo} {learn} {out}", "a clip of 7 frames or more is needed, not 1"),
    ],
    ids=["frames", "animate", "evaluate", "mask", "each", "photo"],
)
def test_the_commands_say_what_does_not_go_with_clips(
    line: str,
    says: str,
    command: Command,
    model: Model,
    tmp_path: Path,
    photo_file: Path,
    tiny_runs: dict[str, Path],
) -> None:
    model.save(tmp_path / "model.safetensors")
    clip().save(tmp_path / "a.gif")
    names = {
        "model": tmp_path / "model.safetensors",
        "photo_model": tiny_runs["hp-vae-gan"],
        "clip": tmp_path / "a.gif",
        "photo": photo_file,
        "learn": LEARN,
    }
    done = command(line.format(out=f"-o {tmp_path / 'out'}", **names))
    assert done.code == 2
    assert says in done.err
