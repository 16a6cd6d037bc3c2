"""Palettes: the main colors of a photo, and pictures that enter in them alone."""

import torch

from singleimage import Channels, Photo, Trainer, preset
from singleimage.generators.cascade import Cascade
from singleimage.generators.palette import in_colors, main_colors
from singleimage.multiscale.geometry import Size
from singleimage.recipes.tasks import for_painting
from tiny import pattern, tiny


def test_main_colors_are_the_colors_there_are() -> None:
    colors = torch.tensor([[0.9, -0.8, 0.1], [-0.9, 0.3, 0.2], [0.0, 0.0, 0.0]])
    picks = torch.randint(3, (40, 50), generator=torch.Generator().manual_seed(0))
    picture = colors[picks].permute(2, 0, 1)[None]
    found = main_colors(picture, 3, seed=1)
    assert torch.cdist(found, colors).amin(dim=0).max() < 1e-6
    grain = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1)) * 0.05
    torch.testing.assert_close(in_colors(picture + grain, colors), picture)
    assert main_colors(torch.zeros(1, 3, 8, 8), 4, seed=0).shape == (4, 3)


def test_paint_enters_in_the_main_colors_of_the_photo() -> None:
    learned = Photo(pattern(3, Size(44, 52)), Channels(mode="RGB"))
    recipe = tiny(for_painting(preset("singan")), **{"training.steps": "1"})
    trainer = Trainer(learned, recipe, seed=0, device="cpu", precision="fp32")
    for _ in trainer:
        pass
    generator = trainer.learner
    assert isinstance(generator, Cascade)
    latent = generator.draw(generator.ladder.sizes, [0])
    known = {tuple(color) for color in generator.palette.tolist()}
    assert len(known) == 5
    image = learned.pixels[None, :, :30, :40]
    for level, limited in ((1, False), (2, True)):
        found = generator.enlarged(image, latent, level)
        colors = {tuple(pixel) for pixel in found[0].flatten(1).T.tolist()}
        assert (colors <= known) is limited
