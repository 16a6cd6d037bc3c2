"""The presets: named recipes. A preset that bears a paper's name follows its published code."""

from msgspec.structs import replace

from singleimage.errors import RecipeError
from singleimage.generators.cascade import CascadeSpec
from singleimage.generators.finished import FinishSpec
from singleimage.generators.growing import GrowingSpec
from singleimage.generators.hyper import HyperSpec
from singleimage.generators.patch_flow import PatchFlowSpec
from singleimage.generators.patch_vae import PatchVAESpec
from singleimage.multiscale.pyramid import (
    ConSinGANPyramid,
    OctavePyramid,
    SinGANPyramid,
    WidthPyramid,
)
from singleimage.nn.blocks import ConvolutionBody, Width
from singleimage.nn.decoding import DecodersSpec
from singleimage.nn.embedding import EmbeddingSpec
from singleimage.nn.hyper import HyperCriticSpec
from singleimage.nn.involution import InvolutionBody
from singleimage.nn.patch_critic import CriticSpec
from singleimage.nn.spectral import SpectralCriticSpec
from singleimage.objectives.adversarial import AdversarialSpec
from singleimage.objectives.variational import VariationalSpec
from singleimage.recipes.recipe import Phase, Recipe, TrainingSpec

SINGAN = Recipe(
    name="singan",
    source="Shaham, Dekel, Michaeli: SinGAN, ICCV 2019; details of the published code. The three "
    "generator steps each recompute the generated image: the code's reuse of one graph across "
    "weight updates is an error in current PyTorch.",
    expects="Variations with the photo's textures, whose layout falls apart in scenes; the "
    "authors' samples have SIFID 0.99 (Places) and 1.56 (LSUN). A photo of 188x250 takes 19 h on "
    "one thread without matrix units, by --dry-run, 2026-11-28.",
    pyramid=SinGANPyramid(),
    generator=CascadeSpec(observed_every=500),
    critic=CriticSpec(width=Width(base=32, double_every=4, limit=128), norm="image", slope=0.2),
    training=TrainingSpec(decay_at=1600),
    phases=(Phase(objective=AdversarialSpec(redraw="coarser")),),
)

CONSINGAN = Recipe(
    name="consingan",
    source="Hinz, Fisher, Wang, Wermter: Improved Techniques for Training Single-Image GANs, "
    "WACV 2021; details of the published code, mode `generation`.",
    expects="The photo's place, arranged anew; the authors' samples have SIFID 0.29 (Places) and "
    "0.42 (LSUN). A photo of 188x250 takes 4 h on one thread and 2 h 5 min on two without matrix "
    "units, and 2 h 10 min on one with AMX, 2026-11-28.",
    pyramid=ConSinGANPyramid(),
    generator=GrowingSpec(),
    critic=CriticSpec(width=Width(base=64), norm="none", slope=0.05),
    phases=(Phase(objective=AdversarialSpec(reuse_gradient=True)),),
)

FAST_STABILIZED = Recipe(
    name="fast-stabilized",
    source="Fast Learning a Stabilized Generative Model from a Single Image; details of the "
    "published code, which the paper leaves open: one kernel a channel, photos of 300 pixels.",
    expects="Sharp variations, close to the photo where it is small: SIFID 0.18 with 50 of 50 "
    "samples copies at 112 pixels, 0.68 without copies at 250 (docs/fast-stabilized.md). A photo "
    "of 188x250 takes 2 h on one thread with AMX, by --dry-run, 2026-11.",
    pyramid=ConSinGANPyramid(max_size=300),
    generator=GrowingSpec(body=InvolutionBody()),
    critic=CriticSpec(
        width=Width(base=128),
        norm="none",
        slope=0.05,
        decoders=DecodersSpec(full=True, crop=True),
    ),
    training=TrainingSpec(steps=500),
    phases=(Phase(objective=AdversarialSpec(reuse_gradient=True, decoding_weight=5.0)),),
)

HP_VAE_GAN = Recipe(
    name="hp-vae-gan",
    source="Gur, Benaim, Wolf: Hierarchical Patch VAE-GAN: Generating Diverse Videos from a Single "
    "Sample, NeurIPS 2020; details of the published code, for images.",
    expects="The most diverse pictures and the farthest from the photo: at 112 pixels and 200 "
    "steps a level SIFID 2.7, diversity-intensity 0.88, no copies. All steps at 256 pixels take "
    "23 h on one thread with AMX, by --dry-run, 2026-11.",
    pyramid=WidthPyramid(),
    generator=PatchVAESpec(),
    critic=SpectralCriticSpec(),
    training=TrainingSpec(steps=5000, decay=1.0, batch=2, clip_generator=5.0),
    phases=(
        Phase(objective=VariationalSpec()),
        Phase(from_level=3, objective=AdversarialSpec(critic_steps=1, generator_steps=1)),
    ),
)

META = Recipe(
    name="meta",
    source="Bensadoun, Gur, Galanti, Wolf: Meta Internal Learning, NeurIPS 2021; details of the "
    "published code, for a set of photos. Its loader's loss of a bit of every photo is an error "
    "and not reproduced.",
    expects="A model of a new photo in one pass of the hypernetwork. Never trained in full here; "
    "the paper reports SIFID 0.05 (Places) and 0.11 (LSUN) for sets of 50 photos, on a GPU.",
    pyramid=WidthPyramid(width=250, min_width=25, factor=0.6, resampling="bicubic", view=128),
    generator=HyperSpec(),
    critic=HyperCriticSpec(),
    training=TrainingSpec(
        steps=4000,
        lr_generator=5e-5,
        lr_critic=5e-5,
        batch=16,
        clip_generator=1.0,
        clip_critic=1.0,
    ),
    phases=(
        Phase(
            objective=AdversarialSpec(critic_steps=1, generator_steps=1, reconstruction_weight=50.0)
        ),
    ),
)

META_SINGLE = replace(
    META,
    name="meta-single",
    source=f"{META.source} One photo, and a critic for it that is not predicted.",
    expects="One photo, as the paper's own comparison with SinGAN. Never trained in full here; the "
    "paper reports SIFID 0.03 (Places), on a GPU.",
    critic=SpectralCriticSpec(spectral=False, depth=4),
    training=replace(META.schedule.training, batch=1),
)

META_SMALL = replace(
    META,
    name="meta-small",
    source="Meta Internal Learning made small; ours: an embedding of 10 layers, projections of "
    "rank 64, and networks of 32 channels for levels of up to 128 pixels.",
    expects="Soft variations of 128 pixels that keep color and texture: SIFID 5.4 (mean over "
    "samples) after 600 steps a level on 20 photos, which took 55 min on one thread with AMX and "
    "without head room, 2026-11.",
    pyramid=replace(META.pyramid, width=128, view=None),
    generator=HyperSpec(
        embedding=EmbeddingSpec(view=64, blocks=(1, 1, 1, 1), width=32),
        rank=64,
        width=32,
        head_room=0.5,
    ),
    critic=HyperCriticSpec(
        embedding=EmbeddingSpec(view=64, blocks=(1, 1, 1, 1), width=32), rank=64, width=32
    ),
    training=replace(
        META.schedule.training, steps=1000, lr_generator=3e-4, lr_critic=3e-4, batch=4
    ),
)

PREVIEW = Recipe(
    name="preview",
    source="ConSinGAN made small and short; ours. One critic step for each generator gradient, and "
    "all levels train on at half the rate of the next, so that the little training reaches the "
    "layout.",
    expects="Variations that keep color, texture and rough layout; 75 s for a photo of 112x112 on "
    "2 cores with AMX, 2026-11.",
    pyramid=ConSinGANPyramid(levels=5, max_size=112, quantize=False),
    generator=GrowingSpec(width=32, train_depth=5, lr_scale=0.5, head_room=0.5),
    critic=CriticSpec(width=Width(base=32), norm="none", slope=0.05),
    training=TrainingSpec(steps=220, restarts=3),
    phases=(Phase(objective=AdversarialSpec(critic_steps=1, reuse_gradient=True)),),
)

QUICK = Recipe(
    name="quick",
    source="ConSinGAN made small, for layout alone, and finished with the photo's own patches; "
    "ours. The coarsest level is as small as the network's field of view, so that it learns where "
    "things are.",
    expects="The photo's textures as sharp as they are, in layouts of its own: SIFID 0.24 (Places) "
    "and 0.22 (LSUN), against 0.42 and 0.30 of ConSinGAN's published samples of the same twelve "
    "photos. A photo of 188x250 takes 60 s on two cores without matrix units, then ten pictures "
    "a second; without AVX-512 112 s, then six, 2026-11-28.",
    pyramid=ConSinGANPyramid(levels=4, min_size=14, max_size=72, quantize=False),
    generator=PREVIEW.generator,
    critic=PREVIEW.critic,
    training=replace(PREVIEW.schedule.training, steps=400),
    phases=(
        Phase(objective=AdversarialSpec(critic_steps=1, reuse_gradient=True, penalty_every=4)),
    ),
    finish=FinishSpec(),
)

STANDARD = replace(
    QUICK,
    name="standard",
    source="The preset `quick` with a larger network that learns longer, so that it knows what "
    "belongs together, and more of what it draws is kept; ours.",
    expects="As `quick`, and large things stay whole, at about their places: SIFID 0.17 (Places) "
    "and 0.18 (LSUN), against 0.42 and 0.30 of ConSinGAN's published samples of the same twelve "
    "photos. A photo of 188x250 takes 6 min on two cores without matrix units, then five pictures "
    "a second; without AVX-512 9 min, 2026-11-28.",
    pyramid=ConSinGANPyramid(levels=5, min_size=14, max_size=80, quantize=False),
    training=replace(QUICK.schedule.training, steps=1500),
    finish=FinishSpec(renoise=0.6, variety=0.6),
)

FLOW = Recipe(
    name="flow",
    source="Patch flow: a flow of the photo's patches with places and balance, then copies; ours.",
    expects="No training: a picture of 188x250 takes 0.5 s on two cores without matrix "
    "units, 2026-11-28.",
    pyramid=OctavePyramid(),
    generator=PatchFlowSpec(),
    critic=None,
    training=None,
    phases=(),
)

PRESETS: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        FLOW,
        QUICK,
        STANDARD,
        CONSINGAN,
        SINGAN,
        FAST_STABILIZED,
        HP_VAE_GAN,
        META,
        META_SINGLE,
        META_SMALL,
        PREVIEW,
    )
}


def preset(name: str) -> Recipe:
    """The preset of that name; raises `RecipeError` naming those there are."""
    if name not in PRESETS:
        raise RecipeError(f"no preset {name!r}; there are {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]


def fast_ablations() -> dict[str, Recipe]:
    """The rows of Fast-Stabilized's tables 3 and 4, by name; the preset itself is one of each.

    Table 3: dilations 1 to 5. Table 4: without decoders, with decoders but convolutions in place of
    involutions, and with neither.
    """
    full, base = FAST_STABILIZED, FAST_STABILIZED.generator
    assert isinstance(base, GrowingSpec)
    bodies = {f"dilation-{d}": InvolutionBody(dilation=d) for d in range(1, 6)}
    dilations = {
        name: replace(full, generator=replace(base, body=body)) for name, body in bodies.items()
    }
    convolutions = replace(full, generator=replace(base, body=ConvolutionBody()))
    bare = replace(full.schedule.critic, decoders=DecodersSpec())
    rows = {
        **dilations,
        "no-decoders": replace(full, critic=bare),
        "decoders-only": convolutions,
        "neither": replace(convolutions, critic=bare),
    }
    return {name: replace(row, name=f"{full.name}-{name}") for name, row in rows.items()}
