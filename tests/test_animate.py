"""Moving pictures: the laws of the walk and of the loop, the frames, the files, the command."""

import errno
import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from cyclopts import App
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from torch import Tensor, nn

from singleimage import PRESETS, Channels, Photo, Recipe, with_overrides
from singleimage.apps.animate import Motion, animate, loop, walk
from singleimage.apps.sample import reconstruct, sample
from singleimage.commands import animate as animating
from singleimage.commands.animate import animate as animate_command
from singleimage.errors import ArgumentError, OutputError, SingleImageError, SizeError
from singleimage.generators.base import Generator
from singleimage.images.movie import _FORMATS, _write_video, write_movie
from singleimage.models.model import Model, Provenance
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.latent import Latent, seed_for
from singleimage.recipes.overrides import fields_of
from singleimage.recipes.tasks import for_animating

PUBLISHED = [(0.1, beta) for beta in (0.8, 0.85, 0.9, 0.95)]
"""alpha and beta of the published animations."""
DOT = (Size(1, 1),)


def impulse(length: int) -> Callable[[int], Latent]:
    """Noise whose map is a unit vector: states then are their weights on the noise of each time."""

    units = torch.eye(length, dtype=torch.float64)

    def draw(time: int) -> Latent:
        return Latent((units[time].view(1, 1, 1, -1),), DOT)

    return draw


ORIGIN = Latent((torch.zeros(1, 1, 1, 1, dtype=torch.float64),), DOT)


def weights(path: Iterator[Latent], count: int) -> NDArray[Any]:
    """(frames, times)."""
    return np.stack([latent.tensors()[0].flatten().numpy() for latent in islice(path, count)])


# The walk ----------------------------------------------------------------------------------------


def published_walk(
    anchor: NDArray[Any],
    noise: list[NDArray[Any]],
    *,
    alpha: float,
    beta: float,
    first: float,
) -> list[NDArray[Any]]:
    """The recurrence of the published codes, literally."""
    z_prev1 = (1 - first) * anchor + first * noise[1]
    z_prev2 = anchor
    shown = []
    for u in noise[2:]:
        diff_curr = beta * (z_prev1 - z_prev2) + (1 - beta) * u
        z_curr = alpha * anchor + (1 - alpha) * (z_prev1 + diff_curr)
        z_prev2, z_prev1 = z_prev1, z_curr
        shown.append(z_curr)
    return shown


@pytest.mark.parametrize(("alpha", "beta"), [*PUBLISHED, (0.0, 0.5), (0.3, 0.0)])
@pytest.mark.parametrize("first", [0.05, 0.01])
def test_the_walk_is_the_published_one(alpha: float, beta: float, first: float) -> None:
    maps = [torch.randn(31, 1, c, 4, 5, generator=torch.Generator().manual_seed(c)) for c in (1, 3)]
    anchor = Latent((maps[0][0], torch.zeros(1, 1, 4, 5)), (Size(4, 5),) * 2)

    def draw(time: int) -> Latent:
        return Latent(tuple(m[time] for m in maps), anchor.sizes)

    ours = walk(anchor, draw, alpha=alpha, beta=beta, first_step=first)
    for level, start in enumerate(anchor.tensors()):
        noise = [m.double().numpy() for m in maps[level]]
        theirs = published_walk(start.double().numpy(), noise, alpha=alpha, beta=beta, first=first)
        shown = islice(walk(anchor, draw, alpha=alpha, beta=beta, first_step=first), len(theirs))
        for latent, expected in zip(shown, theirs, strict=True):
            np.testing.assert_allclose(latent.tensors()[level], expected, atol=1e-5)
    assert next(ours).batch == 1


@pytest.mark.parametrize(("alpha", "beta"), [*PUBLISHED, (0.4, 0.0), (0.05, 0.5)])
def test_spread_and_steps_of_the_walk_in_the_long_run(alpha: float, beta: float) -> None:
    path = weights(walk(ORIGIN, impulse(500), alpha=alpha, beta=beta), 400)
    motion = Motion(alpha, beta)
    assert (path[-1] ** 2).sum() == pytest.approx(motion.variance)
    assert ((path[-1] - path[-2]) ** 2).sum() == pytest.approx(motion.step_variance)


def test_without_a_pull_the_walk_has_no_bound() -> None:
    assert Motion(0, 0.9).variance == np.inf


# The loop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta"), PUBLISHED)
@pytest.mark.parametrize("frames", [1, 2, 25, 100])
def test_a_loop_is_stationary_around_the_circle(alpha: float, beta: float, frames: int) -> None:
    path = weights(loop(ORIGIN, impulse(frames), frames=frames, alpha=alpha, beta=beta), frames + 9)
    assert path.shape == (frames, frames)
    for time, frame in enumerate(path):  # frame t is frame 0 with the noise of t steps later
        np.testing.assert_allclose(np.roll(frame, -time), path[0], atol=1e-12)
    assert (path[0] ** 2).sum() == pytest.approx(Motion(alpha, beta).variance)


@pytest.mark.parametrize(("alpha", "beta"), PUBLISHED)
def test_the_steps_of_a_loop_are_those_of_the_walk(alpha: float, beta: float) -> None:
    motion = Motion(alpha, beta)
    for frames, error in ((200, 0.001), (100, 0.02), (50, 0.15)):
        path = weights(loop(ORIGIN, impulse(frames), frames=frames, alpha=alpha, beta=beta), frames)
        steps = ((path - np.roll(path, 1, axis=0)) ** 2).sum(axis=1)
        assert steps == pytest.approx(motion.step_variance, rel=error)


def test_a_loop_goes_around_the_anchor_on_every_level() -> None:
    anchor = Latent((torch.full((1, 1, 3, 3), 2.0), torch.zeros(1, 1, 90, 90)), (Size(1, 1),) * 2)

    def draw(time: int) -> Latent:
        source = torch.Generator().manual_seed(time)
        maps = (torch.randn(1, 3, *m.shape[2:], generator=source) for m in anchor.tensors())
        return Latent(tuple(maps), anchor.sizes)

    maps = [x.tensors() for x in loop(anchor, draw, frames=60, alpha=0.1, beta=0.9)]
    coarse, fine = (torch.cat(level) for level in zip(*maps, strict=True))
    assert float(coarse.mean()) == pytest.approx(2, abs=0.1)
    assert float(fine.var()) == pytest.approx(Motion(0.1, 0.9).variance, rel=0.05)


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_pull_and_a_memory_are_from_0_to_below_1(name: str, value: float) -> None:
    numbers = {"alpha": 0.1, "beta": 0.9, name: value}
    with pytest.raises(ArgumentError, match=f"{name} .* use 0 up to less than 1"):
        walk(ORIGIN, impulse(3), **numbers)
    with pytest.raises(ArgumentError, match=f"{name} .* use 0 up to less than 1"):
        loop(ORIGIN, impulse(3), frames=3, **numbers)


def test_a_loop_needs_a_pull() -> None:
    with pytest.raises(ArgumentError, match="use more than 0 for a loop"):
        loop(ORIGIN, impulse(3), frames=3, alpha=0, beta=0.9)


# Frames, of every method -------------------------------------------------------------------------

TINY = {
    "pyramid.max_size": "48",
    "pyramid.width": "46",
    "pyramid.levels": "4",
    "generator.width": "6",
    "generator.width.base": "6",
    "generator.latent": "6",
}
PHOTO = Size(38, 46)
KIN = {"preview", "meta-single", "meta-small"}
"""They draw with the generators of consingan and meta."""
METHODS = [recipe.of_one() for name, recipe in PRESETS.items() if name not in KIN]
RECIPES = {r.name: r for p in METHODS for r in (p, for_animating(p))}


def tiny(recipe: Recipe) -> Recipe:
    return with_overrides(recipe, {k: v for k, v in TINY.items() if k in fields_of(recipe)})


def built(recipe: Recipe) -> Any:
    """Its generator with weights, anchor and amplitudes so large that all noise shows."""
    ladder = recipe.pyramid.plan(PHOTO)
    generator = recipe.generator.build(channels=3, ladder=ladder)
    source = torch.Generator().manual_seed(1)
    for _ in ladder.sizes:
        generator.extend(source)
    for name, parameter in generator.named_parameters():
        if parameter.ndim == 4:
            gain = 8 if name == "encoder.mean.weight" else 1  # an anchor as large as noise
            nn.init.normal_(parameter, std=gain * parameter[0].numel() ** -0.5, generator=source)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    for name, values in generator.named_buffers():
        if name == "anchor_noise" or name.startswith("anchor_"):
            values.copy_(torch.randn(values.shape, generator=source))
    generator.get_buffer("amplitudes").fill_(1.0)
    return generator.requires_grad_(False).eval()


@pytest.fixture(scope="module", params=sorted(RECIPES))
def generator(request: pytest.FixtureRequest) -> Generator:
    made: Generator = built(tiny(RECIPES[request.param]))
    return made


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())


@pytest.mark.parametrize("seamless", [False, True])
def test_near_frames_differ_a_little_and_far_ones_more(
    generator: Generator, seamless: bool
) -> None:
    frames = list(animate(generator, frames=12, seed=3, beta=0.95, seamless=seamless))
    assert len(frames) == 12
    assert all(f.shape == (3, *generator.ladder.finest) and f.isfinite().all() for f in frames)
    near = [distance(a, b) for a, b in pairwise(frames)]
    assert min(near) > 0
    far = [distance(a, b) for a, b in zip(frames[:-5], frames[5:], strict=True)]
    assert np.mean(near) < 0.8 * np.mean(far)
    if seamless:
        assert distance(frames[-1], frames[0]) < 2 * max(near)


def test_a_walk_begins_at_the_photo(generator: Generator) -> None:
    photo = reconstruct(generator)[0]
    frames = list(animate(generator, frames=9, seed=0, first_step=0.01, beta=0.95))
    assert distance(frames[0], photo) < 0.5 * distance(frames[-1], photo)


def test_a_frame_depends_on_its_time_and_the_seed_alone(generator: Generator) -> None:
    few, many = (list(animate(generator, frames=n, seed=5)) for n in (2, 4))
    other = next(animate(generator, frames=1, seed=6))
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=False))
    assert not torch.equal(few[0], other)
    rounds = [torch.stack(list(animate(generator, frames=3, seed=5, seamless=True))) for _ in "ab"]
    assert torch.equal(*rounds)


class Spy:
    """A generator that shows the latents it is given, and decodes nothing."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.ladder = generator.ladder
        self.entry_levels = generator.entry_levels
        self.draw = generator.draw
        self.anchor = generator.anchor
        self.seen: list[Latent] = []

    def decode(self, latent: Latent, entry: object = None) -> Tensor:
        self.seen.append(latent)
        return torch.zeros(1, 3, *latent.sizes[-1])


@pytest.mark.parametrize("seamless", [False, True])
def test_levels_under_the_start_keep_the_anchor_and_the_rest_move_alike(
    generator: Generator, seamless: bool
) -> None:
    all_levels, upper = Spy(generator), Spy(generator)
    for spy, start in ((all_levels, 0), (upper, 2)):
        list(animate(spy, frames=3, seed=1, start_level=start, seamless=seamless))
    anchor = generator.anchor().tensors()
    for free, kept in zip(all_levels.seen, upper.seen, strict=True):
        pairs = list(zip(free.tensors(), kept.tensors(), strict=True))
        assert all(torch.equal(k, a) for (_, k), a in zip(pairs[:2], anchor, strict=False))
        assert not any(torch.equal(f, k) for f, k in pairs[:2])
        assert all(torch.equal(f, k) for f, k in pairs[2:])


@pytest.mark.parametrize("level", [0, 1])
def test_the_walk_is_that_of_the_noise_which_the_generator_draws(
    generator: Generator, level: int
) -> None:
    spy, sizes = Spy(generator), generator.ladder.sizes
    list(animate(spy, frames=5, seed=9))
    noise = [
        generator.draw(sizes, [seed_for(9, "walk", t)]).tensors()[level].numpy() for t in range(7)
    ]
    anchor = generator.anchor().tensors()[level].numpy()
    expected = published_walk(anchor, noise, alpha=0.1, beta=0.9, first=0.05)
    for latent, values in zip(spy.seen, expected, strict=True):
        np.testing.assert_allclose(latent.tensors()[level], values, atol=1e-5)


def test_other_sizes_move_about_the_sample_of_the_seed(generator: Generator) -> None:
    size = Size(60, 34)
    frames = list(
        animate(generator, frames=3, seed=4, size=size, alpha=0.99, first_step=0, start_level=1)
    )
    (still,) = sample(generator, [4], size=size)
    assert [f.shape for f in frames] == [(3, 60, 34)] * 3
    assert 0 < distance(frames[-1], still) < 0.05 * float(still.var())


def test_frames_are_drawn_when_they_are_asked_for(generator: Generator) -> None:
    spy = Spy(generator)
    frames = animate(spy, frames=10**9, seed=0)
    assert not spy.seen
    list(islice(frames, 3))
    assert len(spy.seen) == 3
    spy.seen.clear()
    next(animate(spy, frames=4, seed=0, seamless=True))
    assert len(spy.seen) == 1


def test_what_cannot_be_animated_is_refused_at_once(generator: Generator) -> None:
    levels = len(generator.ladder.sizes)
    for wrong, words in (
        ({"start_level": levels}, f"use 0 to {levels - 1}"),
        ({"frames": 0}, "ask for 1 or more"),
        ({"size": Size(5, 5)}, "too small"),
        ({"alpha": 1.0}, "alpha 1 is out of range"),
    ):
        with pytest.raises(SizeError if "size" in wrong else ArgumentError, match=words):
            animate(generator, **{"frames": 2, "seed": 0, **wrong})  # type: ignore[arg-type]


# Files -------------------------------------------------------------------------------------------

MODES = ["L", "LA", "RGB", "RGBA"]


SMALL = Size(24, 40)


def reel(mode: str, count: int = 5, size: Size = SMALL, masks: int = 0) -> list[Photo]:
    """Frames of a wave that moves; alpha is clear at the left, half in the middle, then opaque."""
    channels = Channels(mode=mode, masks=((),) * masks)  # type: ignore[arg-type]
    y, x = np.indices(size)
    photos = []
    for time in range(count):
        planes = [np.sin((x + y * (c + 1)) / 25 + time / 2 + c) for c in range(channels.count)]
        if mode in ("LA", "RGBA"):
            planes[len(mode) - 1] = np.select([x < 10, x < 20], [-1.0, 0.5], 1.0)
        photos.append(Photo(torch.from_numpy(np.stack(planes)).float(), channels))
    return photos


def opened(path: Path) -> list[Image.Image]:
    """The frames of a file: of video color, of others as they are."""
    if path.suffix in (".mp4", ".webm"):
        with av.open(path) as container:
            frames = container.decode(video=0)
            return [Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in frames]
    with Image.open(path) as picture:
        return [frame.copy() for frame in ImageSequence.Iterator(picture)]


def shown(photo: Photo) -> NDArray[Any]:
    return np.asarray(photo.preview(), dtype=float)


@pytest.mark.parametrize("suffix", sorted(_FORMATS))
@pytest.mark.parametrize("mode", MODES)
def test_a_movie_opens_again(suffix: str, mode: str, tmp_path: Path) -> None:
    path, photos = tmp_path / f"movie{suffix}", reel(mode)
    write_movie(path, iter(photos), fps=20, quality=100)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    frames = opened(path)
    assert len(frames) == 5
    for frame, photo in zip(frames, photos, strict=True):
        assert frame.size == (40, 24)
        values = np.asarray(frame.convert("RGBA"), dtype=float)
        if suffix in (".gif", ".webp") and mode in ("LA", "RGBA"):
            half = 255 if suffix == ".gif" else 191
            for columns, alpha in ((slice(0, 10), 0), (slice(10, 20), half), (slice(20, 40), 255)):
                assert (values[:, columns, 3] == alpha).all()
        error = np.abs(values[..., :3] - shown(photo))[:, 20:]  # where it is opaque
        assert error.mean() < 5


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_pictures_repeat_forever_at_their_pace(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"movie{suffix}"
    write_movie(path, reel("RGB"), fps=12.5)
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0
        durations = []
        for frame in ImageSequence.Iterator(picture):
            frame.load()
            durations.append(frame.info["duration"])
    assert durations == [80] * 5


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_video_has_its_pace_and_even_sides(suffix: str, tmp_path: Path) -> None:
    path, photos = tmp_path / f"movie{suffix}", reel("RGB", 10, Size(25, 41))
    write_movie(path, photos, fps=12.5, quality=100)
    with av.open(path) as container:
        (track,) = container.streams.video
        assert (track.height, track.width, track.pix_fmt) == (26, 42, "yuv420p")
        assert track.average_rate == pytest.approx(12.5)
        assert container.duration == pytest.approx(0.8 * av.time_base, rel=0.02)
        assert track.codec_context.colorspace == 1
    for frame, photo in zip(opened(path), photos, strict=True):
        values = np.asarray(frame, dtype=float)
        assert np.abs(values[:25, :41] - shown(photo)).mean() < 6
        assert np.abs(values[25] - values[24]).mean() < 10
        assert np.abs(values[:, 41] - values[:, 40]).mean() < 10


@pytest.mark.parametrize("suffix", sorted(_FORMATS))
@pytest.mark.parametrize("color", [(242, 51, 102), (25, 217, 13), (255, 255, 255), (0, 0, 0)])
def test_colors_are_those_of_the_frames(
    suffix: str, color: tuple[int, int, int], tmp_path: Path
) -> None:
    pixels = (torch.tensor(color).view(3, 1, 1) / 127.5 - 1).expand(3, 16, 16)
    path = tmp_path / f"movie{suffix}"
    write_movie(path, [Photo(pixels, Channels(mode="RGB"))], quality=90)
    (frame,) = opened(path)
    assert np.asarray(frame.convert("RGB"))[8, 8] == pytest.approx(color, abs=3)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_odd_sides_stay_odd_in_pictures(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"movie{suffix}"
    write_movie(path, reel("RGB", size=Size(25, 41)))
    assert {frame.size for frame in opened(path)} == {(41, 25)}


@pytest.mark.parametrize("suffix", sorted(_FORMATS))
def test_masks_are_left_out_and_one_frame_is_a_movie(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"movie{suffix}"
    write_movie(path, reel("RGB", 1, masks=2))
    assert [frame.size for frame in opened(path)] == [(40, 24)]


@pytest.mark.parametrize("suffix", [".webp", ".mp4", ".webm"])
def test_less_quality_is_a_smaller_file(suffix: str, tmp_path: Path) -> None:
    sizes = []
    for quality in (1, 50, 100):
        path = tmp_path / f"{quality}{suffix}"
        write_movie(path, reel("RGB", size=Size(64, 64)), quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


def test_video_is_written_while_frames_come(tmp_path: Path) -> None:
    """The encoder looks ahead for less than all frames, and nothing else keeps them."""
    stream, drawn, written = io.BytesIO(), 0, 0

    def frames() -> Iterator[Photo]:
        nonlocal drawn, written
        noise = torch.Generator().manual_seed(0)
        for _ in range(150):
            drawn += 1
            yield Photo(torch.rand(3, 32, 32, generator=noise) * 2 - 1, Channels(mode="RGB"))
            written = max(written, len(stream.getvalue()) if drawn < 150 else 0)

    codec = _FORMATS[".mp4"].codec
    assert codec is not None
    _write_video(stream, frames(), 10, 80, codec=codec)
    assert drawn == 150
    assert written > len(stream.getvalue()) / 4


@pytest.mark.parametrize("suffix", sorted(_FORMATS))
@pytest.mark.parametrize("error", [KeyboardInterrupt, SizeError])
def test_what_is_interrupted_leaves_nothing(
    suffix: str, error: type[BaseException], tmp_path: Path
) -> None:
    def frames() -> Iterator[Photo]:
        yield from reel("RGB", 3)
        raise error

    with pytest.raises(error):
        write_movie(tmp_path / f"movie{suffix}", frames())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", sorted(_FORMATS))
def test_a_movie_is_replaced_only_when_told(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"movie{suffix}"
    path.write_bytes(b"mine")
    frames = iter(reel("L", 2))
    with pytest.raises(OutputError, match="exists and would be replaced"):
        write_movie(path, frames)
    assert path.read_bytes() == b"mine"
    assert len(list(frames)) == 2  # none was drawn
    write_movie(path, reel("L", 2), overwrite=True)
    assert len(opened(path)) == 2


def refusal(path: Path, frames: list[Photo], **numbers: Any) -> str:
    """The message, which is one line."""
    with pytest.raises(SingleImageError) as raised:
        write_movie(path, frames, **numbers)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = reel("RGB", 2)
    assert "use .gif, .webp, .mp4 or .webm" in refusal(tmp_path / "a.avi", photos)
    assert "use 0.1 to 50" in refusal(tmp_path / "a.gif", photos, fps=60)
    assert "use 0.1 to 240" in refusal(tmp_path / "a.mp4", photos, fps=float("nan"))
    assert "use 1 to 100" in refusal(tmp_path / "a.webp", photos, quality=0)
    assert "give 1 or more" in refusal(tmp_path / "a.gif", [])
    assert "cannot write" in refusal(tmp_path / "no" / "a.gif", photos)
    wide = [Photo(torch.zeros(1, 1, 16384), Channels(mode="L"))]
    assert "over 16383 pixels" in refusal(tmp_path / "a.webp", wide)
    monkeypatch.setattr(av, "codecs_available", {"libvpx-vp9"})
    assert "cannot encode libx264" in refusal(tmp_path / "a.mp4", photos)
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'singleimage[video]'" in refusal(tmp_path / "a.mp4", photos)
    write_movie(tmp_path / "a.gif", photos)  # which does not need it
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_a_full_disk_under_a_video_is_an_error_of_the_system() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    codec = _FORMATS[".mp4"].codec
    assert codec is not None
    with pytest.raises(OSError, match="No space left"):
        _write_video(Full(), iter(reel("RGB")), 10, 80, codec=codec)


# The command -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["singan", "consingan-animate"])
def model_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny(RECIPES[request.param])
    generator = built(recipe)
    origin = Provenance(
        photo=PHOTO,
        image_sha256="",
        seed=0,
        levels=len(generator.ladder.sizes),
        seconds=0.0,
        device="cpu",
        created="",
        versions={},
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    Model(generator, recipe, Channels(mode="RGB"), origin, None).save(path)
    return path


def run(*words: object) -> int:
    """`singleimage animate` with these words."""
    app = App()
    app.command(animate_command, name="animate")
    tokens = ["animate", *map(str, words)]
    code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    assert isinstance(code, int)
    return code


def test_the_command_writes_a_movie(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "movie.gif"
    assert run(model_file, "-o", path, "-n", 4, "--fps", 5, "--loop", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"files": [str(path)], "frames": 4, "fps": 5.0}
    frames = opened(path)
    assert len(frames) == 4
    with Image.open(path) as picture:
        assert picture.info["duration"] == 200
    scaled = tmp_path / "scaled.webp"
    assert run(model_file, "-o", scaled, "-n", 2, "--size", "50x45", "--start-level", 1) == 0
    assert capsys.readouterr().out == f"2 frames in {scaled}\n"
    assert {frame.size for frame in opened(scaled)} == {(45, 50)}
    with pytest.raises(OutputError, match="exists"):
        run(model_file, "-o", scaled)


@pytest.mark.parametrize(
    "words", ["--seed 1", "--alpha 0.5", "--beta 0.5", "--start-level 2", "--loop"]
)
def test_every_number_of_the_command_changes_the_movie(
    model_file: Path, words: str, tmp_path: Path
) -> None:
    for path, more in ((tmp_path / "a.webp", ""), (tmp_path / "b.webp", words)):
        assert run(model_file, "-o", path, "-n", 3, *more.split()) == 0
    assert (tmp_path / "a.webp").read_bytes() != (tmp_path / "b.webp").read_bytes()


def test_a_long_animation_says_how_far_it_is(
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("singleimage.commands.animate.SECONDS", 0.0)
    run(model_file, "-o", tmp_path / "a.gif", "-n", 3)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["frame 1/3", "frame 2/3"]
    run(model_file, "-o", tmp_path / "b.gif", "-n", 3, "--json")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_animation_is_a_shorter_movie(
    number: signal.Signals,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(animating, "_counted", partial(interrupted, number=number, after=3))
    assert run(model_file, "-o", tmp_path / "a.gif", "-n", 9, "--json") == 128 + number
    assert json.loads(capsys.readouterr().out)["frames"] == 3
    assert len(opened(tmp_path / "a.gif")) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]


def interrupted(
    photos: Iterator[Photo], total: int, *, quiet: bool, number: signal.Signals, after: int
) -> Iterator[Photo]:
    for done, photo in enumerate(photos, 1):
        if done == after:
            signal.raise_signal(number)
        yield photo
