"""Make the pictures of README and docs: run the commands of the gallery, lay out what they made.

Needs the package with its extra `demo`. What is trained already is not trained again.
"""

import contextlib
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image, ImageDraw, ImageFilter

from singleimage import read_photo
from singleimage.images.sheet import sheet

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "gallery"
PICTURES = ROOT / "docs" / "images" / "gallery"
PHOTOS = {
    "tissue": ("ihc.png", (0, 0, 512, 512), (256, 256)),
    "gravel": ("gravel.png", (0, 0, 280, 280), (256, 256)),
    "cat": ("chelsea.png", (80, 20, 380, 280), (240, 208)),
    "cup": ("coffee.png", (80, 40, 440, 320), (248, 192)),
    "galaxies": ("hubble_deep_field.jpg", (0, 0, 1000, 750), (320, 240)),
    "rocket": ("rocket.jpg", (140, 0, 500, 360), (360, 360)),
}
"""File of scikit-image, what is cropped of it, and the size it is reduced to."""
FIRST = "singleimage sample ihc.png -o first -n 8"
"""What the README shows, as `scripts/demo` makes it."""
CELL = 220
"""Long side of a picture on a sheet, pixels."""


def prepare() -> None:
    """The photos, and what a user would have made of them by hand."""
    data = Path(skimage.__file__).parent / "data"
    shutil.copy(data / "ihc.png", WORK)
    made = {}
    for name, (file, box, size) in PHOTOS.items():
        photo = Image.open(data / file)
        made[name] = photo.crop(box).resize(size, Image.Resampling.LANCZOS)
        made[name].save(WORK / f"{name}.png")

    normals_of(made["gravel"]).save(WORK / "gravel_normal.png")
    hole = Image.new("L", made["gravel"].size)
    ImageDraw.Draw(hole).ellipse((90, 70, 170, 150), fill=255)
    hole.save(WORK / "hole.png")
    holed = made["gravel"].convert("RGB")
    holed.paste((255, 255, 255), mask=hole)
    holed.save(WORK / "holed.png")

    sketch = Image.new("RGB", (256, 256), (226, 222, 224))
    draw = ImageDraw.Draw(sketch)
    draw.ellipse((40, 40, 216, 216), fill=(150, 112, 92))
    draw.ellipse((84, 84, 172, 172), fill=(226, 222, 224))
    draw.rectangle((0, 226, 256, 256), fill=(120, 130, 165))
    sketch.save(WORK / "sketch.png")

    made["rocket"].resize((90, 90), Image.Resampling.LANCZOS).save(WORK / "small.png")
    brown = made["tissue"].convert("RGB").split()[2].filter(ImageFilter.GaussianBlur(2))
    brown.point(lambda blue: 255 * (blue < 150)).save(WORK / "glands.png")
    eye = Image.new("L", made["cat"].size)
    ImageDraw.Draw(eye).ellipse((30, 50, 104, 114), fill=255)
    eye.save(WORK / "eye.png")
    draw_sprite().save(WORK / "sprite.png")

    copied = made["cat"].copy()
    copied.paste(copied.crop((32, 50, 104, 114)), (112, 10))
    copied.save(WORK / "copied.png")

    pasted = made["tissue"].copy()
    cup = made["cup"].resize((124, 96), Image.Resampling.LANCZOS)
    round_mask = Image.new("L", cup.size)
    ImageDraw.Draw(round_mask).ellipse((12, 8, 112, 90), fill=255)
    pasted.paste(cup, (70, 80), round_mask)
    pasted.save(WORK / "pasted.png")


def normals_of(photo: Image.Image) -> Image.Image:
    """A normal map that takes bright for high; y is up."""
    heights = np.asarray(photo.convert("L").filter(ImageFilter.GaussianBlur(1.5))) / 25.5
    down, across = np.gradient(heights)
    normals = np.stack([-across, down, np.ones_like(heights)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return Image.fromarray(((normals + 1) * 127.5).round().astype(np.uint8))


def draw_sprite() -> Image.Image:
    """A landscape for a game: nine colors, 48 x 64 pixels."""
    picture = Image.new("RGB", (64, 48), (109, 194, 255))
    draw = ImageDraw.Draw(picture)
    for x, y in ((6, 6), (30, 10), (50, 4)):
        draw.rectangle((x, y, x + 9, y + 2), fill=(255, 255, 255))
        draw.rectangle((x + 2, y - 1, x + 6, y + 4), fill=(255, 255, 255))
    for x in range(64):
        top = 26 + round(3 * math.sin(x / 5) + 2 * math.sin(x / 2.3))
        draw.line((x, top, x, 47), fill=(131, 92, 59))
        draw.line((x, top, x, top + 3), fill=(75, 165, 72))
        draw.line((x, top, x, top + x % 2), fill=(140, 214, 86))
        for y in range(top + 6, 48):
            if (x * 7 + y * 13) % 23 == 0:
                draw.rectangle((x, y, x + 1, y), fill=(96, 64, 40))
            if (x * 11 + y * 5) % 61 == 0:
                draw.rectangle((x, y, x + 2, y + 1), fill=(150, 150, 160))
    for x in (12, 40, 55):
        top = 26 + round(3 * math.sin(x / 5) + 2 * math.sin(x / 2.3))
        draw.rectangle((x, top - 7, x + 1, top - 1), fill=(96, 64, 40))
        draw.ellipse((x - 4, top - 14, x + 5, top - 6), fill=(38, 110, 60))
        draw.point(((x - 1, top - 11), (x + 2, top - 9)), fill=(230, 70, 70))
    return picture


def run_commands() -> None:
    """Every command of the page; trainings that are complete end at once."""
    page = "```\n" + FIRST + "\n```\n" + (ROOT / "docs" / "gallery.md").read_text()
    for block in re.findall(r"```\n(.*?)```", page, flags=re.S):
        for line in block.splitlines():
            words = shlex.split(line)
            print(line, flush=True)
            if words[1] != "train":
                words.append("--overwrite")
            subprocess.run([sys.executable, "-m", *words], cwd=WORK, check=True)


def run_method() -> None:
    """What docs/how/method.md writes, of gravel."""
    shutil.copy(WORK / "gravel.png", WORK / "photo.png")
    page = (ROOT / "docs" / "how" / "method.md").read_text()
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", page, flags=re.S) if "class " in c)
    names: dict[str, Any] = {}
    with contextlib.chdir(WORK):
        exec(code, names)
    for i, picture in enumerate(names["pictures"][:3]):
        picture.save(WORK / f"phase{i}.png", overwrite=True)


def cell(name: str, times: float = 1) -> Image.Image:
    """A picture for a sheet, `times` as large as usual; of few pixels, without smoothing."""
    picture = read_photo(WORK / name).preview()
    factor = times * CELL / max(picture.size)
    size = [max(round(side * factor), 1) for side in picture.size]
    how = Image.Resampling.NEAREST if factor > 2 else Image.Resampling.LANCZOS
    return picture.resize((size[0], size[1]), how)


def lay_out() -> None:
    """The pictures of the page."""
    tile = Image.open(WORK / "tiles" / "0000.png")
    repeated = Image.new(tile.mode, (2 * tile.width, 2 * tile.height))
    for x in (0, tile.width):
        for y in (0, tile.height):
            repeated.paste(tile, (x, y))
    repeated.save(WORK / "repeated.png")
    small = Image.open(WORK / "small.png")
    small.resize((360, 360), Image.Resampling.BICUBIC).save(WORK / "bicubic.png")
    near, usual, far = (
        [f"{name}/000{i}.png" for i in range(4)] for name in ("near", "variations", "far")
    )
    rows = {
        "variations": ["tissue.png", *near, "tissue.png", *usual, "tissue.png", *far],
        "sizes": ["galaxies.png", "wide/0000.png", "tissue.png", "tall/0000.png"],
        "tile": ["gravel.png", "tiles/0000.png", "repeated.png"],
        "normals": [
            *("gravel.png", "gravel_normal.png"),
            *("tiles/0000.png", "tiles/0000_normal.png"),
        ],
        "phase": ["gravel.png", *(f"phase{i}.png" for i in range(3))],
        "fill": ["holed.png", "filled.png", "tissue.png", "extended.png"],
        "edit": ["copied.png", "edited.png", "pasted.png", "harmonized.png"],
        "paint": ["sketch.png", "painted.png", "cat.png", "restyled.png"],
        "upscale": ["bicubic.png", "large.png", "rocket.png"],
        "kept": ["cat.png", "eye.png", "kept/0000.png", "kept/0001.png"],
        "masks": [
            *("tissue.png", "masked/0000.png", "masked/0001.png"),
            *("glands.png", "masked/0000_mask.png", "masked/0001_mask.png"),
        ],
        "sprites": ["sprite.png", *(f"sprites/000{i}.png" for i in range(3))],
    }
    columns = {"variations": 5, "masks": 3}
    for name, files in rows.items():
        large = name in ("upscale", "sizes")
        times = 1.6 if large else 0.8 if name in ("normals", "phase") else 1
        cells = [cell(file, times) for file in files]
        page = sheet(cells, columns=columns.get(name, len(files)))
        few = name == "sprites"  # of few colors: nothing is lost
        page.save(PICTURES / f"{name}.webp", quality=88, method=6, lossless=few)
    shown = [cell("ihc.png"), *(cell(f"first/000{i}.png") for i in range(8))]
    sheet(shown, columns=3).save(ROOT / "docs" / "images" / "sheet.webp", quality=88, method=6)
    (PICTURES / "moving.webp").write_bytes((WORK / "moving.webp").read_bytes())


if __name__ == "__main__":
    WORK.mkdir(exist_ok=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    prepare()
    run_commands()
    run_method()
    lay_out()
