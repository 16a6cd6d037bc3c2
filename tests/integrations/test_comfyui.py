"""The nodes as ComfyUI calls them: images (B, H, W, C) and masks (B, H, W) in [0, 1]."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from singleimage.errors import ArgumentError, MaskError
from singleimage.multiscale.geometry import Size
from tiny import pattern

pytestmark = pytest.mark.usefixtures("quick_flow")
FILE = Path(__file__).parents[2] / "integrations" / "comfyui" / "singleimage_nodes.py"


@pytest.fixture(scope="module")
def nodes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("singleimage_nodes", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def batch(count: int, channels: int = 3) -> Tensor:
    """Images (count, 30, 40, channels) of 8 bits in [0, 1], the second another than the first."""
    one = pattern(channels, Size(30, 40)).permute(1, 2, 0) / 2 + 0.5
    return torch.stack([(one.roll(7 * i, 0) * 255).round() / 255 for i in range(count)])


def call(node: type, **chosen: Any) -> Tensor:
    """Run a node as ComfyUI does: what is not chosen has its default."""
    asked: dict[str, Any] = node.INPUT_TYPES()["required"]  # type: ignore[attr-defined]
    given = {
        name: kind[0][0] if isinstance(kind[0], list) else kind[1]["default"]
        for name, kind in asked.items()
        if isinstance(kind[0], list) or len(kind) > 1
    }
    with torch.inference_mode():
        found = getattr(node(), node.FUNCTION)(**{**given, **chosen})  # type: ignore[attr-defined]
    assert len(found) == len(node.RETURN_TYPES)  # type: ignore[attr-defined]
    images: Tensor = found[0]
    assert images.dtype == torch.float32
    assert images.amin() >= 0
    assert images.amax() <= 1
    return images


def colors(image: Tensor) -> set[tuple[int, ...]]:
    """All colors of an image (H, W, C), of 8 bits."""
    levels = (image * 255).round().int().flatten(0, 1).tolist()
    return {tuple(pixel) for pixel in levels}


def test_every_node_says_what_comfyui_asks(nodes: ModuleType) -> None:
    assert nodes.NODE_CLASS_MAPPINGS.keys() == nodes.NODE_DISPLAY_NAME_MAPPINGS.keys()
    assert len(nodes.NODE_CLASS_MAPPINGS) == 3
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        assert node.RETURN_TYPES == ("IMAGE",)
        assert node.CATEGORY == "singleimage"
        assert callable(getattr(node, node.FUNCTION))
        for kind, *options in node.INPUT_TYPES()["required"].values():
            assert isinstance(kind, list) or kind in {"IMAGE", "MASK", "INT", "FLOAT"}
            assert all({"default", "min", "max"} <= option.keys() for option in options)


def test_variations_are_made_of_the_pixels_of_their_image(nodes: ModuleType) -> None:
    images = batch(2)
    drawn = call(nodes.Variations, image=images, count=2, seed=5)
    assert drawn.shape == (4, 30, 40, 3)
    for i, picture in enumerate(drawn):
        assert colors(picture) <= colors(images[i // 2])
    assert not torch.equal(drawn[0], drawn[1])
    (again,) = call(nodes.Variations, image=images[:1], count=1, seed=6)
    assert torch.equal(again, drawn[1])


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_transparent_images_stay_so(channels: int, nodes: ModuleType) -> None:
    image = batch(1, channels)
    (drawn,) = call(nodes.Variations, image=image, count=1)
    assert colors(drawn) <= colors(image[0])


def test_variations_have_the_size_that_is_asked_for(nodes: ModuleType) -> None:
    drawn = call(nodes.Variations, image=batch(1), count=1, width=60)
    assert drawn.shape == (1, 30, 60, 3)


def test_a_tile_has_no_seam_along_what_is_asked_for(nodes: ModuleType) -> None:
    image = batch(1)
    for along, free in (("xy", ()), ("x", (0,)), ("y", (1,))):
        (tile,) = call(nodes.Tile, image=image, count=1, along=along, variety=0.6)
        assert tile.shape == image.shape[1:]
        assert colors(tile) <= colors(image[0])
        for axis in {0, 1} - set(free):
            across = (tile.select(axis, 0) - tile.select(axis, -1)).abs().mean()
            assert across < 2 * tile.diff(dim=axis).abs().mean()


@pytest.mark.parametrize("form", ["batch", "one for all", "no batch", "one image"])
def test_a_filling_changes_what_is_masked_and_nothing_else(form: str, nodes: ModuleType) -> None:
    images = batch(1 if form == "one image" else 2)
    mask = torch.zeros(30, 40)
    mask[8:18, 14:28] = 1
    two = mask.expand(2, -1, -1)
    given = {"one for all": mask[None], "no batch": mask}.get(form, two)
    filled = call(nodes.Fill, image=images, mask=given)
    assert filled.shape == (2, *images.shape[1:])
    changed = (filled - images).abs().amax(-1) > 0.002
    assert not changed[:, mask == 0].any()
    assert changed[:, mask > 0].float().mean() > 0.5


def test_other_numbers_of_masks_than_of_images_are_refused_in_words(nodes: ModuleType) -> None:
    with pytest.raises(ArgumentError, match="3 images and 2 masks; give as many masks, or one"):
        call(nodes.Fill, image=batch(3), mask=torch.ones(2, 30, 40))


def test_an_empty_mask_is_refused_in_words(nodes: ModuleType) -> None:
    with pytest.raises(MaskError, match="the mask is empty"):
        call(nodes.Fill, image=batch(1), mask=torch.zeros(1, 30, 40))
