"""Generators with random weights, to see what wraps around their edges."""

from functools import cache

import msgspec
import torch
from torch import Tensor, nn

from singleimage.generators.cascade import Cascade, CascadeSpec
from singleimage.generators.growing import Growing, GrowingSpec
from singleimage.generators.hyper import HyperSpec
from singleimage.generators.patch_vae import PatchVAE, PatchVAESpec
from singleimage.multiscale.geometry import Size, Wrap
from singleimage.multiscale.latent import Latent
from singleimage.multiscale.pyramid import Ladder
from singleimage.nn.blocks import Width

F64 = torch.float64


BOTH: Wrap = (True, True)


ROWS: Wrap = (True, False)


COLUMNS: Wrap = (False, True)


WRAPS = [ROWS, COLUMNS, BOTH]


def tiled(x: Tensor, wrap: Wrap, times: int = 2) -> Tensor:
    """`x` repeated along the axes that wrap."""
    return x.repeat(1, 1, *(times if around else 1 for around in wrap))


def grown(size: Size, wrap: Wrap, times: int = 2) -> Size:
    height, width = (n * times if around else n for n, around in zip(size, wrap, strict=True))
    return Size(height, width)


EVEN = (Size(8, 10), Size(16, 20), Size(32, 40))
"""Every pixel of a level is two of the next."""


ODD = (Size(9, 11), Size(14, 15), Size(25, 22))


THIN = Width(base=4)


SMALL_VAE = PatchVAESpec(width=4, latent=5, depth=2, encoder_depth=1)


SPECS: dict[str, CascadeSpec | GrowingSpec | PatchVAESpec] = {
    "cascade": CascadeSpec(width=THIN, quantize=False),
    "cascade, drawn border": CascadeSpec(width=THIN, quantize=False, noise_border="drawn"),
    "cascade, no norm": CascadeSpec(width=THIN, quantize=False, norm="none"),
    "cascade of a hypernetwork": HyperSpec(width=4).cascade(),
    "growing, stretch": GrowingSpec(width=4, edge="stretch"),
    "growing, zero": GrowingSpec(width=4, edge="zero"),
    "patch vae, running norm": msgspec.structs.replace(SMALL_VAE, decode_norm="running"),
}


NORMED: dict[str, CascadeSpec | GrowingSpec | PatchVAESpec] = {
    "cascade, image norm": CascadeSpec(width=THIN, quantize=False, norm="image"),
    "growing, image norm": GrowingSpec(width=4, norm="image"),
    "patch vae": SMALL_VAE,
}


@cache
def made(name: str, sizes: tuple[Size, ...] = ODD) -> Cascade | Growing | PatchVAE:
    """Random weights and statistics; each level adds less, so that pictures are smooth."""
    scales = tuple(size.height / sizes[-1].height for size in sizes)
    ladder = Ladder(sizes, scales, 1.0, sizes[-2].height / sizes[-1].height, "nearest")
    g = {**SPECS, **NORMED}[name].build(channels=3, ladder=ladder).to(F64)
    weights = torch.Generator().manual_seed(5)
    for _ in sizes:
        g.extend(weights)
    for parameter in g.parameters():
        if parameter.ndim == 4:
            nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5, generator=weights)
    for part in g.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            nn.init.normal_(part.running_mean, std=0.2, generator=weights)
            nn.init.uniform_(part.running_var, 0.5, 2.0, generator=weights)
    g.amplitudes.copy_(torch.tensor([1.0, 0.1, 0.03]))
    return g.requires_grad_(False).eval()


def rolled(latent: Latent, steps: int) -> Latent:
    """Moved by so many pixels of the coarsest level, along the axes that wrap."""
    maps = (
        torch.roll(x, [n * around for n, around in zip((f, f), latent.wrap, strict=True)], (2, 3))
        for x, f in zip(latent.tensors(), (steps, 2 * steps, 4 * steps), strict=True)
    )
    return Latent(tuple(maps), latent.sizes, latent.wrap)
