"""Pictures and models with different channels."""

import pytest
import torch

import singleimage
from scenes import disk, scene
from singleimage import Channels, Model, Photo
from singleimage.errors import ImageError
from singleimage.images.channels import Mask
from singleimage.tools import channels, retouch


def test_channels_are_brought_to_the_models_or_refused(model: Model, photo: Photo) -> None:
    gray = Photo(photo.pixels[:1], Channels(mode="L"))
    assert retouch.paint(model, gray)[0].channels.mode == "RGB"
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 5, 7)
    made_gray = channels.as_channels(Photo(red, Channels(mode="RGB")), Channels(mode="L"))
    torch.testing.assert_close(made_gray, torch.full((1, 5, 7), 2 * 0.299 - 1))
    clear = Photo(torch.cat([photo.pixels, photo.pixels[:1]]), Channels(mode="RGBA"))
    with pytest.raises(ImageError, match="color with alpha, the model color; convert"):
        retouch.paint(model, clear)


def test_pictures_with_alpha_are_brought_to_colors_or_gray_with_alpha(photo: Photo) -> None:
    alpha = photo.pixels[:1]
    clear = Photo(torch.cat([photo.pixels[:1], alpha]), Channels(mode="LA"))
    colored = channels.as_channels(clear, Channels(mode="RGBA"))
    assert torch.equal(colored, torch.cat([clear.pixels[:1].expand(3, -1, -1), alpha]))
    back = channels.as_channels(Photo(colored, Channels(mode="RGBA")), Channels(mode="LA"))
    torch.testing.assert_close(back, clear.pixels)


def test_a_model_with_alpha_fills_a_gray_picture() -> None:
    pixels = torch.cat([scene(40, 50), scene(40, 50)[:1].abs()])
    model = singleimage.flow(Photo(pixels, Channels(mode="RGBA")))
    gray = Photo(scene(40, 50)[:1], Channels(mode="L"))
    (found,) = singleimage.fill(model, gray, mask=disk(gray.size))
    assert found.channels.mode == "LA"
    assert torch.equal(found.pixels[0, :8], gray.pixels[0, :8])


def test_masks_of_a_picture_that_the_model_does_not_know_are_left_out() -> None:
    base = Photo(scene(40, 50), Channels(mode="RGB"))
    labels = torch.ones(1, 40, 50)
    labeled = Photo(torch.cat([base.pixels, labels]), Channels(mode="RGB", masks=(Mask(),)))
    (found,) = singleimage.fill(singleimage.flow(base), labeled, mask=disk(base.size))
    assert found.channels == base.channels
    assert torch.equal(found.pixels[:, :8], base.pixels[:, :8])
