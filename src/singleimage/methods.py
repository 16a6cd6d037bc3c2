"""The presets: named recipes. A preset that bears a paper's name follows its published code."""

from singleimage.errors import RecipeError
from singleimage.generators.cascade import CascadeSpec
from singleimage.generators.growing import GrowingSpec
from singleimage.nn.blocks import Width
from singleimage.nn.critic import CriticSpec
from singleimage.objectives.adversarial import AdversarialSpec
from singleimage.pyramid import ConSinGANPyramid, SinGANPyramid
from singleimage.recipe import Phase, Recipe, TrainingSpec

SINGAN = Recipe(
    name="singan",
    source="Shaham, Dekel, Michaeli: SinGAN, ICCV 2019; details of the published code. The three "
    "generator steps each recompute the generated image: the code's reuse of one graph across "
    "weight updates is an error in current PyTorch.",
    pyramid=SinGANPyramid(),
    generator=CascadeSpec(),
    critic=CriticSpec(width=Width(base=32, double_every=4, limit=128), norm="image", slope=0.2),
    training=TrainingSpec(decay_at=1600),
    phases=(Phase(objective=AdversarialSpec(redraw="coarser")),),
)

CONSINGAN = Recipe(
    name="consingan",
    source="Hinz, Fisher, Wang, Wermter: Improved Techniques for Training Single-Image GANs, "
    "WACV 2021; details of the published code, mode `generation`.",
    pyramid=ConSinGANPyramid(),
    generator=GrowingSpec(),
    critic=CriticSpec(width=Width(base=64), norm="none", slope=0.05),
    phases=(Phase(objective=AdversarialSpec(reuse_gradient=True)),),
)

PREVIEW = Recipe(
    name="preview",
    source="ConSinGAN made small and short; ours. One critic step for each generator gradient, and "
    "all levels train on at half the rate of the next, so that the little training reaches the "
    "layout.",
    expects="Variations that keep color, texture and rough layout; 75 s for a photo of 112x112 on "
    "2 cores with AMX, 2026-11.",
    pyramid=ConSinGANPyramid(levels=5, max_size=112, quantize=False),
    generator=GrowingSpec(width=32, train_depth=5, lr_scale=0.5),
    critic=CriticSpec(width=Width(base=32), norm="none", slope=0.05),
    training=TrainingSpec(steps=220),
    phases=(Phase(objective=AdversarialSpec(critic_steps=1, reuse_gradient=True)),),
)

PRESETS: dict[str, Recipe] = {recipe.name: recipe for recipe in (CONSINGAN, SINGAN, PREVIEW)}


def preset(name: str) -> Recipe:
    """The preset of that name; raises `RecipeError` naming those there are."""
    if name not in PRESETS:
        raise RecipeError(f"no preset {name!r}; there are {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]
