"""ICC profiles of curves and a matrix, as cameras and screens have them."""

import struct
from itertools import product


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def gamma(exponent: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IHH", 1, round(exponent * 256), 0)


SRGB_CURVE = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(
    2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045
)  # fmt: skip
WHITE = (0.9642, 1.0, 0.8249)
ABOUT = {
    b"wtpt": b"XYZ " + bytes(4) + _fixed(*WHITE),
    b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(79),
}


def profile(curve: bytes, *colors: tuple[float, float, float]) -> bytes:
    """A profile of color, given XYZ under D50 of red, green and blue, or without them of gray."""
    tags = dict(ABOUT)
    for name, color in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colors, strict=False):
        tags[name] = b"XYZ " + bytes(4) + _fixed(*color)
    for name in (b"rTRC", b"gTRC", b"bTRC") if colors else (b"kTRC",):
        tags[name] = curve
    return _file(tags, b"mntr", b"RGB " if colors else b"GRAY", b"XYZ ")


def _file(tags: dict[bytes, bytes], kind: bytes, space: bytes, other: bytes) -> bytes:
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        tag += bytes(-len(tag) % 4)
        table += name + struct.pack(">II", start + len(body), len(tag))
        body += tag
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02400000, kind, space, other)
    head += bytes(12) + b"acsp" + bytes(28) + _fixed(*WHITE) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def inks() -> bytes:
    """A profile of CMYK, whose table has the colors of no ink and of all (lut16Type, Lab)."""
    table = b""
    for cyan, magenta, yellow, black in product((0, 1), repeat=4):
        light = 0xFF00 * (1 - black) * (4 - cyan - magenta - yellow) // 4
        a, b = 0x8000 + 0x3000 * (magenta - cyan), 0x8000 + 0x3000 * (yellow - cyan)
        table += struct.pack(">3H", light, a, b)
    line = struct.pack(">2H", 0, 0xFFFF)
    matrix = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + struct.pack(">2H", 2, 2)
    tags = {**ABOUT, b"A2B0": lut + 4 * line + table + 3 * line}
    return _file(tags, b"prtr", b"CMYK", b"Lab ")


DISPLAY_P3 = profile(
    SRGB_CURVE,
    (0.51512, 0.24120, -0.00105),
    (0.29198, 0.69225, 0.04189),
    (0.15710, 0.06657, 0.78407),
)
ADOBE_RGB = profile(
    gamma(2.2),
    (0.60974, 0.31111, 0.01947),
    (0.20528, 0.62567, 0.06087),
    (0.14919, 0.06322, 0.74457),
)
GRAY_18 = profile(gamma(1.8))
INKS = inks()
