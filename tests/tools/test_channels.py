"""Pictures and models with different channels."""

import pytest
import torch

from singleimage import Channels, Model, Photo
from singleimage.errors import ImageError
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
