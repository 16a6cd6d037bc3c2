"""Make the pictures of docs/gallery.md: run its commands in `gallery/`, lay out what they made.

Needs the package with its extra `demo`. What is trained already is not trained again.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import skimage
from PIL import Image, ImageDraw

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
}
"""File of scikit-image, what is cropped of it, and the size it is reduced to."""
CELL = 220
"""Long side of a picture on a sheet, pixels."""


def prepare() -> None:
    """The photos, and what a user would have made of them by hand."""
    made = {}
    for name, (file, box, size) in PHOTOS.items():
        photo = Image.open(Path(skimage.__file__).parent / "data" / file)
        made[name] = photo.crop(box).resize(size, Image.Resampling.LANCZOS)
        made[name].save(WORK / f"{name}.png")

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

    copied = made["cat"].copy()
    copied.paste(copied.crop((32, 50, 104, 114)), (112, 10))
    copied.save(WORK / "copied.png")

    pasted = made["tissue"].copy()
    cup = made["cup"].resize((124, 96), Image.Resampling.LANCZOS)
    round_mask = Image.new("L", cup.size)
    ImageDraw.Draw(round_mask).ellipse((12, 8, 112, 90), fill=255)
    pasted.paste(cup, (70, 80), round_mask)
    pasted.save(WORK / "pasted.png")


def run_commands() -> None:
    """Every command of the page; trainings that are complete end at once."""
    page = (ROOT / "docs" / "gallery.md").read_text()
    for block in re.findall(r"```\n(.*?)```", page, flags=re.S):
        for line in block.splitlines():
            words = shlex.split(line)
            print(line, flush=True)
            if words[1] != "train":
                words.append("--overwrite")
            subprocess.run([sys.executable, "-m", *words], cwd=WORK, check=True)


def cell(name: str) -> Image.Image:
    """A picture for a sheet."""
    picture = read_photo(WORK / name).preview()
    factor = CELL / max(picture.size)
    size = [max(round(side * factor), 1) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def lay_out() -> None:
    """The pictures of the page."""
    tile = Image.open(WORK / "tiles" / "0000.png")
    repeated = Image.new(tile.mode, (2 * tile.width, 2 * tile.height))
    for x in (0, tile.width):
        for y in (0, tile.height):
            repeated.paste(tile, (x, y))
    repeated.save(WORK / "repeated.png")
    rows = {
        "variations": [
            "tissue.png",
            *(f"variations/000{i}.png" for i in range(3)),
            "wide/0000.png",
        ],
        "tile": ["gravel.png", "tiles/0000.png", "repeated.png"],
        "fill": ["holed.png", "filled.png", "tissue.png", "extended.png"],
        "paint": ["sketch.png", "painted.png"],
        "edit": ["copied.png", "edited.png", "pasted.png", "harmonized.png"],
    }
    for name, files in rows.items():
        sheet([cell(file) for file in files], columns=len(files)).save(PICTURES / f"{name}.png")
    (PICTURES / "moving.webp").write_bytes((WORK / "moving.webp").read_bytes())


if __name__ == "__main__":
    WORK.mkdir(exist_ok=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    prepare()
    run_commands()
    lay_out()
