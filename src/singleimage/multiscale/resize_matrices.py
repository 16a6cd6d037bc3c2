"""The matrices of resizing along one axis, in float64.

`resample` applies them. Where an axis wraps, what lies beyond one edge is the opposite one.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["keys", "aligned", "linear"]
"""Name of a law: `resize`, `stretch` or `enlarge` of `resample`."""


def keys_weights(
    n_in: int, n_out: int, scale: float, outputs: range | None = None
) -> NDArray[np.float64]:
    """The (n_out, n_in) float64 matrix of `resize` along one axis, antialiased where it shrinks.

    `outputs`: these rows of it only.

    (The published code lets the height decide for both axes; the two differ only where one axis
    shrinks and the other grows, which no pyramid does.)

    Output i is centered at (i + 0.5) / scale - 0.5. Taps before the first sample are dropped and
    the row renormalized; taps after the last are mirrored with the edge repeated.
    """
    squeeze = min(scale, 1.0)
    support = 4.0 / squeeze
    centers = (np.array(outputs or range(n_out)) + 0.5) / scale - 0.5
    first = np.floor(centers - support / 2).astype(np.int64)
    taps = first[:, None] + np.arange(math.ceil(support) + 2)[None, :]
    weights = squeeze * _kernel((centers[:, None] - taps) * squeeze, "keys")
    weights[taps < 0] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    period = taps % (2 * n_in)
    mirrored = np.where(period < n_in, period, 2 * n_in - 1 - period)
    matrix = np.zeros((len(centers), n_in))
    np.add.at(matrix, (np.arange(len(centers))[:, None], mirrored), weights)
    return matrix


def aligned_weights(
    n_in: int, n_out: int, outputs: range | None = None, kind: Kind = "aligned"
) -> NDArray[np.float64]:
    """Compute the matrix of `stretch` or `enlarge` along one axis; outside, the edge repeats.

    Args:
        n_in: pixels of the input.
        n_out: pixels of the output.
        outputs: these rows of the matrix alone; None: all.
        kind: which of the two laws.

    Returns:
        (n_out, n_in) in float64.
    """
    step = (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
    centers = np.array(outputs or range(n_out)) * step
    taps = np.floor(centers).astype(np.int64)[:, None] + np.arange(-1, 3)[None, :]
    weights = _kernel(centers[:, None] - taps, kind)
    matrix = np.zeros((len(centers), n_in))
    np.add.at(matrix, (np.arange(len(centers))[:, None], taps.clip(0, n_in - 1)), weights)
    return matrix


def wrapped_weights(
    n_in: int, n_out: int, kind: Kind, outputs: range | None = None
) -> NDArray[np.float64]:
    """Compute the matrix of any law of resizing along an axis that wraps.

    Row i + n_out / g is row i moved by n_in / g columns, g the greatest common divisor of both: the
    positions are fractions of integers, so this holds to the last bit.

    Args:
        n_in: pixels of the input.
        n_out: pixels of the output.
        kind: the law.
        outputs: these rows of the matrix alone, which may lie beyond `n_out`; None: all.

    Returns:
        (n_out, n_in) in float64.
    """
    places = np.array(outputs or range(n_out))
    taps, weights = wrapped_taps(n_in, n_out, kind, places)
    matrix = np.zeros((len(places), n_in))
    np.add.at(matrix, (np.arange(len(places))[:, None], taps % n_in), weights)
    return matrix


def wrapped_taps(
    n_in: int, n_out: int, kind: Kind, places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the inputs of every output along an axis that wraps, and their weights.

    Args:
        n_in: pixels of the input.
        n_out: pixels of the output.
        kind: the law of resizing.
        places: (n,), the outputs that are asked for.

    Returns:
        Inputs, not yet modulo `n_in`, and weights, both (n, taps).
    """
    squeeze = min(n_out / n_in, 1.0) if kind == "keys" else 1.0
    whole, rest = np.divmod((2 * places + 1) * n_in - n_out, 2 * n_out)
    reach = math.ceil(2 / squeeze)
    steps = np.arange(-reach, reach + 1)
    weights = _kernel(((rest / (2 * n_out))[:, None] - steps) * squeeze, kind)
    return whole[:, None] + steps, weights / weights.sum(axis=1, keepdims=True)


def _kernel(x: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    if kind == "linear":
        return np.asarray(np.maximum(1 - np.abs(x), 0), np.float64)
    return _cubic(x, -0.5 if kind == "keys" else -0.75)


def _cubic(x: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with parameter `a`."""
    d = np.abs(x)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d <= 2, far, 0.0))
