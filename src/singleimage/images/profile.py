"""Color profiles: between the values of a file and those of sRGB, in which everything computes.

Profiles of curves and a matrix (ICC.1:2022, sections 9.2, 10.6 and 10.18), which those of cameras,
screens and editors are, are computed here, for 8 and 16 bits and both ways; others by LittleCMS on
8 bits.
"""

import io
import struct
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Floats = NDArray[np.floating[Any]]

SRGB = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
"""From linear sRGB to XYZ under D50, the space in which profiles meet."""
FINE = 65536
"""Entries of a curve's table."""
SAME = 1.5 / 255
"""A profile that nowhere differs from sRGB by more is sRGB."""


class Profile(Protocol):
    """Between the colors of a file and those of sRGB."""

    def to_srgb(self, values: NDArray[Any]) -> Floats:
        """Convert `values` (H, W, 1 or 3), uint8 or uint16, to sRGB in [0, 1]."""
        ...

    def from_srgb(self, colors: Floats) -> Floats:
        """Convert sRGB `colors` (H, W, 1 or 3) to the file's, both in [0, 1]."""
        ...


def profile_of(data: bytes, colors: int) -> Profile | None:
    """Read the profile of a picture.

    Args:
        data: of the profile; empty: there is none.
        colors: channels of the picture without alpha, 1 or 3.

    Returns:
        None where the colors are those of sRGB.

    Raises:
        ValueError: it is damaged, or of another kind of picture.
    """
    if not data:
        return None
    wanted = b"GRAY" if colors == 1 else b"RGB "
    if len(data) < 132 or data[16:20] != wanted:
        raise ValueError("of another kind of picture")
    try:
        tags = _tags(data)
        profile = _matrix(tags, colors) if b"A2B0" not in tags else _Tables(data, colors)
        steps = np.linspace(0, 255, 9 if colors == 3 else 256).round().astype(np.uint8)
        cube = np.stack(np.meshgrid(*[steps] * colors, indexing="ij"), -1).reshape(-1, 1, colors)
        apart = np.abs(profile.to_srgb(cube) - cube / 255).max()
    except (struct.error, IndexError, KeyError, ImageCms.PyCMSError, OSError) as error:
        raise ValueError(str(error)) from None
    if not np.isfinite(apart):
        raise ValueError("its curves have no values")
    return None if apart < SAME else profile


class _Curves:
    """A curve for each channel, and for colors a matrix to linear sRGB."""

    def __init__(self, curves: Sequence[Floats], matrix: Floats | None) -> None:
        self._curves = curves
        self._matrix = matrix
        self._inverse = None if matrix is None else np.linalg.inv(matrix)

    def to_srgb(self, values: NDArray[Any]) -> Floats:
        index = values.astype(np.int64) * (257 if values.dtype == np.uint8 else 1)
        light = np.stack([c[index[..., i]] for i, c in enumerate(self._curves)], -1)
        return _encoded(light if self._matrix is None else light @ self._matrix.T)

    def from_srgb(self, colors: Floats) -> Floats:
        light = _decoded(colors.astype(np.float64))
        light = light if self._inverse is None else light @ self._inverse.T
        grid = np.linspace(0, 1, FINE)
        planes = [np.interp(light[..., i], c, grid) for i, c in enumerate(self._curves)]
        return np.stack(planes, -1)


class _Tables:
    """Whatever LittleCMS can do, on 8 bits."""

    def __init__(self, data: bytes, colors: int) -> None:
        own = ImageCms.ImageCmsProfile(io.BytesIO(data))
        mode, srgb = "L" if colors == 1 else "RGB", ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        self._to = ImageCms.buildTransform(own, srgb, mode, "RGB", intent)
        self._from = ImageCms.buildTransform(srgb, own, "RGB", mode, intent)
        self._colors = colors

    def to_srgb(self, values: NDArray[Any]) -> Floats:
        eight = values if values.dtype == np.uint8 else (values // 257).astype(np.uint8)
        picture = Image.fromarray(eight[..., 0] if self._colors == 1 else eight)
        found = np.asarray(ImageCms.applyTransform(picture, self._to))
        return found[..., : self._colors] / 255

    def from_srgb(self, colors: Floats) -> Floats:
        eight = (colors * 255).round().astype(np.uint8)
        picture = Image.fromarray(eight if self._colors == 3 else eight.repeat(3, -1))
        found = np.asarray(ImageCms.applyTransform(picture, self._from))
        return found.reshape(colors.shape) / 255


def _tags(data: bytes) -> dict[bytes, bytes]:
    count = struct.unpack(">I", data[128:132])[0]
    found = {}
    for index in range(min(count, 200)):
        name, start, length = struct.unpack_from(">4sII", data, 132 + 12 * index)
        found[name] = data[start : start + length]
    return found


def _matrix(tags: dict[bytes, bytes], colors: int) -> Profile:
    if colors == 1:
        return _Curves([_curve(tags[b"kTRC"])], None)
    curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    columns = [struct.unpack_from(">3i", tags[n], 8) for n in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return _Curves(curves, np.linalg.inv(SRGB) @ (np.array(columns).T / 65536))


def _curve(tag: bytes) -> Floats:
    """The light of 65,536 evenly spaced values, rising from 0 to 1."""
    x = np.linspace(0, 1, FINE)
    if tag[:4] == b"curv":
        count = struct.unpack_from(">I", tag, 8)[0]
        if count == 0:
            return x
        given = np.array(struct.unpack_from(f">{count}H", tag, 12), np.float64)
        if count == 1:
            return np.asarray(x ** (given[0] / 256))
        light: Floats = np.interp(x, np.linspace(0, 1, count), given / 65535)
    elif tag[:4] == b"para":
        kind = struct.unpack_from(">H", tag, 8)[0]
        numbers = struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)
        light = _parametric(x, kind, [n / 65536 for n in numbers])
    else:
        raise ValueError("a curve of an unknown kind")
    return np.maximum.accumulate(np.clip(light, 0, 1))


def _parametric(x: Floats, kind: int, numbers: Sequence[float]) -> Floats:
    """Function types 0 to 4 (ICC.1:2022, table 68)."""
    g, a, b, c, d, e, f = (*numbers, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)[:7] if kind == 0 else (
        *numbers, *[0.0] * (7 - len(numbers))
    )  # fmt: skip
    if kind == 0:
        return np.asarray(x**g)
    if kind <= 2:  # c, where there is one, is added to both parts
        d, e, f, c = -b / a if a else 0.0, c, c, 0.0
    power = np.maximum(a * x + b, 0) ** g + e
    return np.where(x >= d, power, c * x + f)


def _encoded(light: Floats) -> Floats:
    light = np.clip(light, 0, 1)
    low = light * 12.92
    return np.where(light <= 0.0031308, low, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def _decoded(colors: Floats) -> Floats:
    high = ((colors + 0.055) / 1.055) ** 2.4
    return np.where(colors <= 0.04045, colors / 12.92, high)
