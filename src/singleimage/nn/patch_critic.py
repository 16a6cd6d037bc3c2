"""The critic of the SinGAN family: a patch network, with decoders or without."""

from typing import Literal

import msgspec
import torch

from singleimage.nn.blocks import PatchNet, Slope, Width, init_normal
from singleimage.nn.decoding import DecodersSpec, DecodingCritic


class CriticSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="patch"
):
    """A critic of receptive field 11: (B, C, H, W) -> (B, 1, H - 10, W - 10), unbounded."""

    width: Width = Width()
    norm: Literal["none", "image"] = "none"
    """`image` is batch norm as it acts in a critic that sees one image and stays in train mode."""
    slope: Slope = 0.2
    """Negative slope of the leaky ReLU."""
    decoders: DecodersSpec = DecodersSpec()
    """What redraws the photo from the critic's features while it learns (Fast-Stabilized)."""

    @property
    def smallest_image(self) -> int:
        """Pixels a side of the smallest image that the critic can score."""
        return 2 * PatchNet.margin + 1

    def build(
        self, *, level: int, channels: int, generator: torch.Generator | None
    ) -> PatchNet | DecodingCritic:
        """Build a fresh critic.

        Args:
            level: decides its width.
            channels: of the images.
            generator: source of all randomness; None: weights stay as they are, to be loaded.
        """
        width = self.width.at(level)
        critic: PatchNet | DecodingCritic
        critic = PatchNet(channels, width, 1, norm=self.norm, slope=self.slope)
        if self.decoders != DecodersSpec():
            critic = DecodingCritic(critic, self.decoders, width=width, channels=channels)
        if generator is not None:
            init_normal(critic, generator)
        return critic
