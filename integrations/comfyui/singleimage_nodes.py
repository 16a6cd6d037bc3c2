"""ComfyUI nodes that draw new pictures from one: variations, seamless tiles, fillings."""

from typing import Any

import torch
from torch import Tensor

import singleimage

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
SEED = ("INT", {"default": 0, "min": 0, "max": 2**64 - 1})
VARIETY = ("FLOAT", {"default": 0.33, "min": 0.0, "max": 1.0, "step": 0.01})
COUNT = ("INT", {"default": 4, "min": 1, "max": 64})


def photo_of(image: Tensor) -> singleimage.Photo:
    """The photo in an image (H, W, C) in [0, 1]."""
    pixels = image.detach().float().cpu().clamp(0, 1).permute(2, 0, 1) * 2 - 1
    channels = singleimage.Channels(mode=MODES[len(pixels)])
    return singleimage.Photo(pixels.contiguous(), channels)


def images_of(pictures: list[singleimage.Photo]) -> Tensor:
    """Pictures of one size as images (B, H, W, C) in [0, 1]."""
    return torch.stack([(x.pixels.permute(1, 2, 0) + 1) / 2 for x in pictures])


class Variations:
    """New pictures of the same scene."""

    CATEGORY = "singleimage"
    DESCRIPTION = "New pictures of each image, made of its own pixels. No training."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "draw"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What the node asks for; a width or height of 0 is the image's own."""
        side = ("INT", {"default": 0, "min": 0, "max": 8192})
        inputs = {"count": COUNT, "variety": VARIETY, "seed": SEED, "width": side, "height": side}
        return {"required": {"image": ("IMAGE",), **inputs}}

    def draw(
        self, image: Tensor, count: int, variety: float, seed: int, width: int, height: int
    ) -> tuple[Tensor]:
        """Draw `count` pictures of each image of the batch, (B * count, height, width, C)."""
        size = (height or image.shape[1], width or image.shape[2])
        models = [singleimage.flow(photo_of(one), variety=variety) for one in image]
        seeds = range(seed, seed + count)
        return (images_of([x for model in models for x in model.sample(seeds, size=size)]),)


class Tile:
    """Pictures that repeat without a seam."""

    CATEGORY = "singleimage"
    DESCRIPTION = "Pictures of each image that repeat without a seam: along x, along y, or both."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "draw"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What the node asks for."""
        inputs = {"count": COUNT, "variety": VARIETY, "seed": SEED}
        return {"required": {"image": ("IMAGE",), "along": (["xy", "x", "y"],), **inputs}}

    def draw(
        self, image: Tensor, along: str, count: int, variety: float, seed: int
    ) -> tuple[Tensor]:
        """Draw `count` tiles of each image of the batch, (B * count, H, W, C)."""
        models = [singleimage.flow(photo_of(one), variety=variety) for one in image]
        seeds = range(seed, seed + count)
        return (images_of([x for model in models for x in model.sample(seeds, tile=along)]),)


class Fill:
    """A masked part made new from what the image has elsewhere."""

    CATEGORY = "singleimage"
    DESCRIPTION = "Replaces what the mask marks by what the image has elsewhere; the rest stays."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "draw"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """What the node asks for."""
        return {"required": {"image": ("IMAGE",), "mask": ("MASK",), "seed": SEED}}

    def draw(self, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor]:
        """Fill each image (B, H, W, C) by its mask (B, H, W); one of either is for all."""
        marks = (mask if mask.dim() == 3 else mask[None]).round()
        count = max(len(image), len(marks))
        if not {len(image), len(marks)} <= {1, count}:
            raise singleimage.ArgumentError(
                f"{len(image)} images and {len(marks)} masks; give as many masks, or one."
            )
        images, marks = image.expand(count, -1, -1, -1), marks.expand(count, -1, -1)
        filled = []
        for one, mark in zip(images, marks, strict=True):
            model = singleimage.flow(photo_of(one))
            filled += singleimage.fill(model, mask=photo_of(mark[..., None]), seeds=[seed])
        return (images_of(filled),)


NODE_CLASS_MAPPINGS = {
    "SingleImageVariations": Variations,
    "SingleImageTile": Tile,
    "SingleImageFill": Fill,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "SingleImageVariations": "Variations of one image",
    "SingleImageTile": "Seamless tile of one image",
    "SingleImageFill": "Fill from the same image",
}
