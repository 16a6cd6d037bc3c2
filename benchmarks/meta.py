"""How samples change with the number of photos that a hypernetwork learns together.

python benchmarks/meta.py PHOTO ... --out RUNS --sizes 1 2 5 --steps 300

For each size the first photos of the list are learned together, once with a predicted critic for
each (as published for sets) and, with --shared, once with one critic for all. SIFID, diversity and
leaked patches are means over the photos, and `first` is the mean SIFID of the first photo, which is
in all runs. Runs continue where they were stopped.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
from msgspec.structs import replace

from singleimage.images.folder import read_album
from singleimage.images.photo import Photo
from singleimage.metrics.evaluation import evaluate
from singleimage.metrics.features import load_features
from singleimage.metrics.leakage import PatchOwners
from singleimage.metrics.samples import DrawnSamples
from singleimage.models.hypermodel import HyperModel
from singleimage.models.model import Model
from singleimage.nn.spectral import SpectralCriticSpec
from singleimage.recipes.overrides import with_overrides
from singleimage.recipes.presets import preset
from singleimage.recipes.recipe import Recipe
from singleimage.training.run import Run


def recipe_of(args: argparse.Namespace, shared: bool, size: int) -> Recipe:
    recipe = with_overrides(
        preset(args.preset),
        {"training.steps": str(args.steps), "pyramid.width": str(args.width)},
    )
    recipe = replace(recipe, training=replace(recipe.training, batch=size))
    if not shared:
        return recipe
    critic = SpectralCriticSpec(spectral=False, depth=4, width=recipe.generator.width)
    return replace(recipe, name=f"{recipe.name}-shared", critic=critic)


def models_of(folder: Path, recipe: Recipe, photos: list[Photo]) -> list[Model]:
    run = Run(folder, photos, recipe, seed=0)
    for progress in run:
        if progress.level_done:
            print(f"{folder.name}: level {progress.level} done", flush=True)
    if len(photos) == 1:
        return [Model.load(folder)]
    hyper = HyperModel.load(folder)
    return [hyper.model(photo) for photo in photos]


def measure(models: list[Model], samples: int) -> dict[str, float]:
    features = load_features("efficientnet-lite0")
    reals = [model.training_image() for model in models]
    scores = [
        evaluate(DrawnSamples(model, range(samples)), real, features).scores
        for model, real in zip(models, reals, strict=True)
    ]
    found = {
        name: statistics.fmean(score.numbers[name] for score in scores)
        for name in ("sifid_mean", "sifid_min", "diversity_intensity", "copy_continuing")
    }
    found["first"] = scores[0].numbers["sifid_mean"]
    if len(models) > 1:
        owners = PatchOwners([real.colors() for real in reals])
        leaks = [
            owners.leaked(sample.colors(), index)
            for index, model in enumerate(models)
            for sample in model.sample(range(samples))
        ]
        found["leaked"] = statistics.fmean(leaks)
    errors = [
        float((model.reconstruct().pixels - real.pixels).square().mean())
        for model, real in zip(models, reals, strict=True)
    ]
    found["reconstruction"] = statistics.fmean(errors)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 5])
    parser.add_argument("--shared", type=int, nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--preset", default="meta-small")
    args = parser.parse_args()
    torch.set_num_threads(max(1, torch.get_num_threads()))
    album = read_album(args.photos)
    jobs = [(size, False) for size in args.sizes] + [(size, True) for size in args.shared]
    for size, shared in jobs:
        name = f"{'shared' if shared else 'own'}-{size}"
        recipe = recipe_of(args, shared, size)
        models = models_of(args.out / name, recipe, album[:size])
        row = {"run": name, "photos": size, **measure(models, args.samples)}
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}))


if __name__ == "__main__":
    main()
