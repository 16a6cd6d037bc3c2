"""Patch flow: seconds and memory at several sizes, and quality beside published samples.

    python benchmarks/patch_flow.py photo.jpg --sizes 188x250 512x512 1024x1024
    python benchmarks/patch_flow.py photo.jpg --prototype shared/lab/patch_flow_prototype.py
    python benchmarks/patch_flow.py photos/*.jpg --quality --count 10 --set variety=0.5
    python benchmarks/patch_flow.py photos/*.jpg --quality --published samples/consingan

`--prototype` names a module with a class `PF(photo)` whose `sample(seed)` draws one picture: they
draw in turns, and the ratio of their seconds is told. Published samples are files PHOTO.jpg or
PHOTO_0.jpg, PHOTO_1.jpg ... Each measurement is a line of JSON.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import singleimage as si
from machine import describe, machine, peak_bytes
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.resample import resize

NUMBERS = ("sifid_mean", "diversity_intensity", "copy_continuing", "copies")


def sized(path: Path, size: Size | None, limit: int) -> si.Photo:
    """A photo as it is, of a size, or with a long side of at most `limit` pixels."""
    photo = si.read_photo(path)
    if size is None:
        factor = min(limit / max(photo.size), 1.0)
        size = Size(*(round(side * factor) for side in photo.size))
    if size == photo.size:
        return photo
    return si.Photo(resize(photo.pixels[None], size)[0].clamp(-1, 1), photo.channels)


def timed(path: Path, size: Size, repeats: int) -> dict[str, Any]:
    """Seconds of preparation and of a picture, and the largest memory of this process."""
    photo = sized(path, size, 0)
    started = time.perf_counter()
    model = si.flow(photo)
    preparation = time.perf_counter() - started
    list(model.sample([0]))
    seconds = []
    for seed in range(1, repeats + 1):
        started = time.perf_counter()
        list(model.sample([seed]))
        seconds.append(time.perf_counter() - started)
    return {
        "size": str(size),
        "preparation": preparation,
        "median": statistics.median(seconds),
        "best": min(seconds),
        "peak_gb": peak_bytes() / 1e9,
    }


def against(path: Path, prototype: Path, repeats: int) -> dict[str, Any]:
    """Ours and the prototype draw in turns: the median ratio of seconds."""
    spec = importlib.util.spec_from_file_location("prototype", prototype)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    photo = sized(path, None, 250)
    model, other = si.flow(photo), module.PF(photo.pixels)
    ratios = []
    for seed in range(repeats + 1):
        started = time.perf_counter()
        other.sample(seed)
        between = time.perf_counter()
        list(model.sample([seed]))
        ratios.append((between - started) / (time.perf_counter() - between))
    return {"size": str(photo.size), "times_as_fast": statistics.median(ratios[1:])}


def scored(path: Path, pictures: list[si.Photo], photo: si.Photo, features: Any) -> dict[str, Any]:
    """What `evaluate` says of pictures of a photo."""
    numbers = si.evaluate(pictures, photo, features).scores.numbers
    return {"photo": path.stem, **{name: numbers[name] for name in NUMBERS}}


def quality(paths: list[Path], fields: dict[str, str], count: int, published: Path | None) -> None:
    """A line a photo, and the means."""
    features = si.load_features("efficientnet-lite0")
    recipe = si.with_overrides(si.preset("flow"), {f"generator.{k}": v for k, v in fields.items()})
    rows = []
    for path in paths:
        photo = sized(path, None, 250)
        if published is None:
            pictures = list(si.train(photo, recipe, seed=0).sample(range(count)))
        else:
            files = [published / path.name, *sorted(published.glob(f"{path.stem}_*.jpg"))]
            pictures = [sized(file, photo.size, 0) for file in files if file.exists()]
        rows.append(scored(path, pictures, photo, features))
        print(json.dumps(rows[-1]), flush=True)
    means = {name: statistics.fmean(row[name] for row in rows) for name in NUMBERS}
    print(json.dumps({"mean": means, "photos": len(rows), "fields": fields}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["188x250"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prototype", type=Path)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--published", type=Path)
    parser.add_argument("--count", type=int, default=10, help="pictures a photo")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(describe(machine()), file=sys.stderr)
    if args.quality:
        fields = dict(field.split("=", 1) for field in args.set)
        quality(args.photos, fields, args.count, args.published)
        return
    if args.prototype:
        print(json.dumps(against(args.photos[0], args.prototype, args.repeats)))
        return
    if len(args.sizes) == 1:
        size = Size(*map(int, args.sizes[0].split("x")))
        print(json.dumps(timed(args.photos[0], size, args.repeats)))
        return
    for size in args.sizes:  # a process each: the largest memory is that of the process
        command = [sys.executable, __file__, str(args.photos[0]), "--sizes", size]
        more = ["--repeats", str(args.repeats), "--threads", str(args.threads)]
        subprocess.run([*command, *more], check=True)


if __name__ == "__main__":
    main()
