"""How different samples are from each other, gathered one by one in memory for one image."""

import torch
from torch import Tensor

from singleimage.machine.device import supported


class PixelDiversity:
    """Per-pixel standard deviations over samples of one size.

    The field has two definitions. SinGAN's (section 3) takes the deviation of the intensity over
    samples, averaged over pixels and divided by the deviation of the photo's intensities. The
    released code of Fast-Stabilized pools samples and color channels, so that even identical
    samples score above 0: `floor_of` says how much.
    """

    def __init__(self, real: Tensor) -> None:
        """`real`: the photo (3, H, W); samples must have its size."""
        self._real = real.double()
        self._count = 0
        self._sums = torch.zeros(2, *real.shape[-2:], dtype=torch.float64)
        """Sums over samples of colors and intensities; those of the squares follow."""
        self._squares = torch.zeros_like(self._sums)

    def add(self, images: Tensor) -> None:
        """Take samples `images`, (B, 3, H, W) in [-1, 1]."""
        values = images.cpu().double()
        intensity = values.mean(dim=1)
        self._count += len(values)
        self._sums += torch.stack([values.sum(dim=(0, 1)), intensity.sum(dim=0)])
        self._squares += torch.stack(
            [values.square().sum(dim=(0, 1)), intensity.square().sum(dim=0)]
        )

    @property
    def pooled(self) -> float:
        """diversity-pooled: over samples and color channels together (Fast-Stabilized's code)."""
        deviation = _deviation(self._sums[0], self._squares[0], self._count * 3)
        return _ratio(deviation, self._real)

    @property
    def floor(self) -> float:
        """diversity-pooled of samples that all are the photo: its least meaningful value."""
        return _ratio(self._real.std(dim=0, correction=0), self._real)

    @property
    def intensity(self) -> float:
        """diversity-intensity: of the mean of the channels (SinGAN, section 3); 0 for copies."""
        return _ratio(self.deviation_map(), self._real.mean(dim=0))

    def deviation_map(self) -> Tensor:
        """(H, W): the standard deviation over samples of each pixel's intensity, float64."""
        return _deviation(self._sums[1], self._squares[1], self._count)


class FeatureDiversity:
    """Mean distance of all pairs of samples in deep features, as LPIPS measures it.

    At each position features are scaled to length 1; the distance is the squared difference,
    averaged over positions. LPIPS adds learned weights and more layers; this has neither. As
    sum over pairs |a - b|² = n sum |a|² - |sum a|², all pairs cost one pass.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | None = None
        self._lengths = 0
        """Sum of the squared lengths: how many features are not zero."""

    @torch.inference_mode()
    def add(self, maps: Tensor) -> None:
        """Take the features of samples, `maps` (B, C, h, w), all of one size."""
        vectors = supported(maps).permute(0, 2, 3, 1).contiguous()
        lengths = torch.linalg.vector_norm(vectors, dim=3, keepdim=True)
        if self._sum is None:
            self._sum = vectors.new_zeros(vectors.shape[1:], dtype=torch.float64)
        for y, total in enumerate(self._sum):  # in float64 all at once would be gigabytes
            directions = vectors[:, y] / lengths[:, y].clamp(min=1e-10)
            total += directions.sum(dim=0, dtype=torch.float64)
        self._lengths += int((lengths > 1e-10).sum())
        self._count += len(maps)

    @property
    def value(self) -> float:
        """diversity-features: from 0 (copies) to 2; 0 for fewer than two samples."""
        if self._sum is None or self._count < 2:
            return 0.0
        positions = self._sum.shape[0] * self._sum.shape[1]
        pairs = self._count * (self._count - 1) / 2
        apart = self._count * self._lengths - float(self._sum.square().sum())
        return max(apart / pairs / positions, 0.0)


def _deviation(total: Tensor, squares: Tensor, count: int) -> Tensor:
    """Standard deviation (ddof 0) from sums."""
    return (squares / count - (total / count).square()).clamp(min=0).sqrt()


def _ratio(deviation: Tensor, real: Tensor) -> float:
    return float(deviation.mean() / real.std(correction=0))
