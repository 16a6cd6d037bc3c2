"""Pictures of extreme shapes are worked on, or refused in one line."""

from pathlib import Path

import pytest

from scenes import scene
from singleimage import Channels, Photo
from tiny import Command

pytestmark = pytest.mark.usefixtures("quick_flow")
RGB = Channels(mode="RGB")


@pytest.mark.parametrize("tool", ["fill", "harmonize", "edit", "paint", "restyle", "upscale"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 300)], ids=str)
@pytest.mark.parametrize("source", ["photo", "run"])
def test_narrow_pictures_are_one_line(
    tool: str,
    size: tuple[int, int],
    source: str,
    tiny_runs: dict[str, Path],
    tmp_path: Path,
    command: Command,
) -> None:
    Photo(scene(40, 50), RGB).save(tmp_path / "photo.png")
    Photo(scene(*size), RGB).save(tmp_path / "narrow.png")
    mask = Photo(scene(*size)[:1] * 0 - 1, Channels(mode="L"))
    mask.pixels[..., : max(size[1] // 3, 1)] = 1.0
    mask.save(tmp_path / "mask.png")
    made = tmp_path / "photo.png" if source == "photo" else tiny_runs["singan"]
    flags = f"--mask {tmp_path}/mask.png" if tool in ("fill", "harmonize", "edit") else ""
    done = command(f"{tool} {made} {tmp_path}/narrow.png {flags} -o {tmp_path}/out.png")
    assert done.code in (0, 2)
    said = [line for line in done.err.splitlines() if "is marked" not in line]
    assert done.code == 0 or len(said) == 1


@pytest.mark.parametrize("source", ["photo", "run"])
@pytest.mark.parametrize("side", ["--left 20000 --top 20000", "--left 2000", "--top 1"])
def test_a_canvas_of_any_shape_is_one_line(
    source: str, side: str, tiny_runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    Photo(scene(40, 50), RGB).save(tmp_path / "photo.png")
    made = tmp_path / "photo.png" if source == "photo" else tiny_runs["singan"]
    done = command(f"extend {made} {side} -o {tmp_path}/out.png")
    assert done.code in (0, 2)
    assert done.code == 0 or len(done.err.splitlines()) == 1
