"""Pictures of few colors, such as sprites: what is drawn keeps to the colors there are."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from singleimage.images.channels import HIDDEN, Channels
from singleimage.images.values import from_integers, strips

COLORS = 64
"""A picture of at most so many colors keeps to them."""
EACH = 4
"""Pixels for each of its colors, at least."""
SOME = 4096
"""Pixels that are looked at first."""


def palette_of(values: NDArray[Any], channels: Channels) -> tuple[tuple[int, ...], ...]:
    """Find the colors of a picture of few.

    Args:
        values: (H, W, C) uint8.
        channels: what they mean.

    Returns:
        Every color, with alpha where there is some; the most frequent of those that are transparent
        stands for all. Nothing where there are over `COLORS`, or 16 bits, or further bands.
    """
    if values.dtype != np.uint8 or channels.bands:
        return ()
    rows = values.reshape(-1, values.shape[2])
    if len(_colors(rows[:: max(len(rows) // SOME, 1)], channels)) > COLORS:
        return ()
    found = _colors(rows, channels)
    if len(found) > min(COLORS, len(rows) / EACH):
        return ()
    return tuple(tuple(map(int, color)) for color in found)


def _colors(rows: NDArray[Any], channels: Channels) -> NDArray[Any]:
    if channels.alpha is None:
        return _distinct(rows)[0]
    hidden = rows[:, channels.alpha] == 0
    shown = _distinct(rows[~hidden])[0]
    if not hidden.any():
        return shown
    colors, counts = _distinct(rows[hidden])
    return np.concatenate([colors[counts.argmax()][None], shown])


def _distinct(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The distinct rows of (n, C) bytes and how often each is there."""
    wide = np.zeros((len(rows), 4), np.uint8)
    wide[:, : rows.shape[1]] = rows
    found, counts = np.unique(wide.view(np.uint32), return_counts=True)
    return found.view(np.uint8).reshape(-1, 4)[:, : rows.shape[1]], counts


def snapped(pixels: Tensor, channels: Channels) -> Tensor:
    """Give every pixel the color of the palette that is nearest, of those of the nearest alpha.

    Args:
        pixels: (C, H, W) in [-1, 1].
        channels: what they mean; without a palette nothing changes.
    """
    if not channels.palette:
        return pixels
    table = from_integers(np.array(channels.palette, np.uint8)[None])[:, 0].to(pixels)
    count, found = channels.colors, pixels.clone()
    for rows in strips(pixels.shape[1]):
        part = pixels[:, rows]
        apart = torch.cdist(part[:count].flatten(1).T, table[:count].T)
        if channels.alpha is not None:
            alphas = table[channels.alpha]
            away = (part[channels.alpha].flatten()[:, None] - alphas).abs()
            apart = apart.masked_fill(away > away.amin(1, keepdim=True), torch.inf)
        chosen = table[:, apart.argmin(1)]
        found[: len(table), rows] = chosen.view(len(table), *part.shape[1:])
    return found


def cleared(pixels: Tensor, channels: Channels) -> Tensor:
    """Give what is transparent in copied pixels (C, H, W) the palette's color of it, if it has one.

    `channels` say what the pixels mean.
    """
    if channels.alpha is None or not channels.palette or channels.palette[0][-1]:
        return pixels
    table = from_integers(np.array(channels.palette[:1], np.uint8)[None])[:, 0].to(pixels)
    hidden, count = pixels[channels.alpha] <= HIDDEN, len(table)
    colors = torch.where(hidden, table[..., None], pixels[:count])
    return torch.cat([colors, pixels[count:]])
