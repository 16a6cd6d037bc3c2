"""A recipe is everything that defines a training but the photo and the seed: a frozen tree.

It prints as JSON, is stored in every model, and reads back to an equal value. Fields are changed by
dotted paths: `with_overrides(recipe, {"training.steps": "200"})`.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from singleimage.errors import RecipeError
from singleimage.generators.base import DirectSpec, LearnerSpec
from singleimage.generators.cascade import CascadeSpec
from singleimage.generators.finished import FinishSpec
from singleimage.generators.growing import GrowingSpec
from singleimage.generators.hyper import HyperSpec
from singleimage.generators.patch_flow import PatchFlowSpec
from singleimage.generators.patch_vae import PatchVAESpec
from singleimage.multiscale.geometry import Size
from singleimage.multiscale.pyramid import PyramidSpec, WidthPyramid
from singleimage.nn.blocks import Width
from singleimage.nn.hyper import HyperCriticSpec
from singleimage.nn.patch_critic import CriticSpec
from singleimage.nn.spectral import SpectralCriticSpec
from singleimage.objectives.adversarial import AdversarialSpec
from singleimage.objectives.variational import VariationalSpec
from singleimage.recipes.base_input import BaseInput, NoiseInput

Rate = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Unit = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Optimization of one level; optimizers start afresh at every level."""

    steps: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 2000
    """Steps of every level, where its phase has no number of its own."""
    lr_generator: Rate = 5e-4
    lr_critic: Rate = 5e-4
    betas: tuple[Unit, Unit] = (0.5, 0.999)
    """Adam's."""
    decay: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    """Factor on the learning rates from `decay_at` on."""
    decay_at: Annotated[int, msgspec.Meta(ge=1)] | Rate = 0.8
    """An integer is a step, whatever the number of steps; a fraction is that part of `steps`."""

    batch: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Copies of the photo in a step, each with noise of its own; of several photos, how many of
    them, at most all."""
    mirror: bool = False
    """Learn every photo mirrored left to right too, as a photo of its own (hypernetworks)."""
    clip_generator: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Largest norm of all gradients of the generator together; longer ones are shortened to it."""
    clip_critic: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Largest norm of all gradients of the critic together."""
    restarts: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    """How often a level that collapsed to one color is begun again, with other noise, before it is
    an error; one that lost the photo, while there are restarts. The published codes do not
    notice."""

    recompute: bool = False
    """Compute generated images again for the generator's turn, instead of keeping what their
    gradient needs through the critic's turn: the same numbers in less memory, a little slower."""

    def rate_factor(self, step: int, steps: int) -> float:
        """Factor on the learning rates at `step`, counted from 0, of a level with `steps` steps."""
        at = self.decay_at if isinstance(self.decay_at, int) else int(self.decay_at * steps)
        return self.decay if step >= at else 1.0


ObjectiveSpec = AdversarialSpec | VariationalSpec


GeneratorSpec = PatchFlowSpec | CascadeSpec | GrowingSpec | PatchVAESpec | HyperSpec
"""The generators there are."""
CriticSettings = CriticSpec | SpectralCriticSpec | HyperCriticSpec
"""The critics there are."""


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The objective of a range of levels, up to the next phase."""

    from_level: Annotated[int, msgspec.Meta(ge=0)] = 0
    steps: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    """Steps of each of these levels; null: `training.steps`, as in all papers. Levels without a
    critic cost little, and may learn for longer."""
    objective: ObjectiveSpec = AdversarialSpec()


@dataclass(frozen=True)
class Schedule:
    """The training part of a recipe: who learns, against whom, on what and for how long."""

    generator: LearnerSpec
    critic: CriticSettings
    base_input: BaseInput
    training: TrainingSpec
    phases: tuple[Phase, ...]

    def phase_at(self, level: int) -> Phase:
        """The phase of `level`."""
        return max(
            (phase for phase in self.phases if phase.from_level <= level),
            key=lambda phase: phase.from_level,
        )

    def objective_at(self, level: int) -> ObjectiveSpec:
        """The objective that trains `level`."""
        return self.phase_at(level).objective

    def steps_at(self, level: int) -> int:
        """For how many steps `level` is trained."""
        return self.phase_at(level).steps or self.training.steps

    def steps_before(self, level: int) -> int:
        """Steps of all levels under `level`."""
        return sum(map(self.steps_at, range(level)))

    def has_critic(self, level: int) -> bool:
        """Whether a critic plays at `level`."""
        return any(turn.player == "critic" for turn in self.objective_at(level).turns)


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method, with all its settings.

    `critic`, `base_input`, `training` and `phases` are its training part, which generators that
    need no training lack: then critic and training are None, and there are no phases.
    """

    name: str
    source: str = ""
    """The paper and what of it this recipe follows."""
    expects: str = ""
    """What to expect: quality and time, on which hardware, and when that was measured."""
    pyramid: PyramidSpec
    generator: GeneratorSpec
    critic: CriticSettings | None = None
    base_input: BaseInput = msgspec.field(default=NoiseInput(), name="feed")
    """What level 0 is given in training; `feed` in files and overrides."""
    training: TrainingSpec | None = TrainingSpec()
    phases: tuple[Phase, ...] = (Phase(),)
    finish: FinishSpec | None = None
    """Finish what the network draws with the photo's own patches, up to the photo's size; null, as
    in all papers: pictures are the network's."""

    @property
    def schedule(self) -> Schedule:
        """The training part.

        Raises:
            RecipeError: this method needs no training.
        """
        generator = self.generator
        if not generator.trained or self.critic is None or self.training is None:
            raise RecipeError(f"{self.name} needs no training; its model is the photo itself.")
        return Schedule(generator, self.critic, self.base_input, self.training, self.phases)

    @property
    def direct(self) -> DirectSpec | None:
        """The generator's settings where it needs no training; None where it is trained."""
        generator = self.generator
        return None if generator.trained else generator

    @property
    def stretches(self) -> bool:
        """Whether photos of any aspect are stretched to one."""
        return isinstance(self.pyramid, WidthPyramid) and self.pyramid.aspect is not None

    @property
    def size_field(self) -> str:
        """Path of the field that bounds the finest level: its width, or its longer side."""
        wide = isinstance(self.pyramid, WidthPyramid)
        return "pyramid.width" if wide else "pyramid.max_size"

    @property
    def draws_from_photo(self) -> bool:
        """Whether pictures are made of the photo's pixels, so that models hold the photo."""
        return self.finish is not None or self.direct is not None

    @property
    def learns_several(self) -> bool:
        """Whether it learns several photos together: it trains a hypernetwork."""
        generator = self.generator
        return generator.trained and generator.learns_several

    def finishes(self, photo: Size) -> bool:
        """Whether a model of a photo of that size is finished with the photo's patches."""
        return self.finish is not None and min(self.pyramid.plan(photo).finest) < min(photo)

    def with_steps(self, steps: int) -> "Recipe":
        """Return the same recipe with `steps` steps of every level, whatever its phase says.

        Raises:
            RecipeError: this method needs no training.
        """
        training = msgspec.structs.replace(self.schedule.training, steps=steps)
        phases = tuple(msgspec.structs.replace(phase, steps=None) for phase in self.phases)
        return msgspec.structs.replace(self, training=training, phases=phases)

    @property
    def learns_clips(self) -> bool:
        """Whether it learns a clip, not a photo."""
        return isinstance(self.pyramid, WidthPyramid) and bool(self.pyramid.strides)

    def __post_init__(self) -> None:
        parts = (self.critic is not None, self.training is not None, bool(self.phases))
        if not all(part == self.generator.trained for part in parts):
            raise ValueError(
                "critic, training and phases are there where the generator is trained, and only "
                "there"
            )
        if self.generator.trained:
            self._check_phases()
            self._check_hyper()
            self._check_clips()
        if self.finish is not None and (not self.generator.trained or self.learns_clips):
            raise ValueError("finish goes with a network of photos")

    def _check_phases(self) -> None:
        if min(phase.from_level for phase in self.phases) != 0:
            raise ValueError("the first phase must start at level 0")
        learning = self.generator.vae_levels if isinstance(self.generator, PatchVAESpec) else 0
        for level in {learning, *(phase.from_level for phase in self.phases)}:
            objective = self.schedule.objective_at(level)
            if isinstance(objective, VariationalSpec) != (level < learning):
                raise ValueError(
                    f"variational objectives train the levels in which an encoder learns and no "
                    f"others; here these are the first {learning}"
                )
        special = isinstance(self.generator, PatchVAESpec | HyperSpec)
        if special and not isinstance(self.base_input, NoiseInput):
            raise ValueError("this generator is fed with noise alone")

    def _check_hyper(self) -> None:
        hyper = isinstance(self.generator, HyperSpec)
        if self.schedule.training.mirror and not hyper:
            raise ValueError("only a generator of type hyper learns mirrored photos too")
        if isinstance(self.critic, HyperCriticSpec) and not hyper:
            raise ValueError("critics of photos go with a generator of type hyper")
        if isinstance(self.critic, HyperCriticSpec) and isinstance(self.generator, HyperSpec):
            same = self.critic.embedding == self.generator.embedding
            if self.critic.shared != "no" and not same:
                raise ValueError("a shared embedding is the same for generator and critic")
        if hyper and not isinstance(self.pyramid, WidthPyramid):
            raise ValueError("a generator of type hyper goes with a pyramid of type width")

    def _check_clips(self) -> None:
        axes = self.critic.axes if isinstance(self.critic, SpectralCriticSpec) else 2
        if self.learns_clips != (axes == 3):
            raise ValueError("pyramid.strides, for clips, go with critic.axes=3")
        if self.learns_clips and not isinstance(self.generator, PatchVAESpec):
            raise ValueError("only a generator of type patch-vae learns clips")

    def of_one(self) -> "Recipe":
        """The recipe of the models that a hypernetwork predicts: an ordinary cascade's."""
        if not isinstance(self.generator, HyperSpec):
            return self
        critic = self.critic
        if isinstance(critic, HyperCriticSpec):
            critic = CriticSpec(width=Width(base=critic.width), slope=critic.slope)
        return msgspec.structs.replace(
            self,
            name=f"{self.name}-model",
            generator=self.generator.cascade(),
            critic=critic,
            training=TrainingSpec(steps=self.schedule.training.steps),
            phases=(Phase(objective=AdversarialSpec(critic_steps=1, generator_steps=1)),),
        )

    def to_json(self) -> str:
        """Return the recipe as JSON, which `from_json` reads."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Recipe":
        """Read a recipe from JSON `text`, of this version or of an earlier one.

        Raises:
            RecipeError: it is no recipe.
        """
        try:
            return read_json(text, cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"not a recipe: {error}.") from None

    def digest(self) -> str:
        """Hash of what matters to the result: everything but the texts for people."""
        plain = msgspec.structs.replace(self, source="", expects="")
        tree = _without_additions(msgspec.to_builtins(plain))
        return hashlib.sha256(msgspec.json.encode(tree)).hexdigest()[:16]


_ADDITIONS: dict[str, Any] = {
    "body": {"type": "convolution"},
    "decoders": {"full": False, "crop": False},
    "decoding_weight": 0.0,
    "restarts": 0,
    "batch": 1,
    "clip_generator": None,
    "clip_critic": None,
    "mirror": False,
    "spectral": True,
    "axes": 2,
    "strides": (),
    "noise_from": 1,
    "steps": None,
    "accumulate": False,
    "resampling": "bilinear",
    "base_noise": "gray",
    "enlarging": "bicubic",
    "entry_norm": "own",
    "walk_step": 0.01,
    "head_room": 0.0,
    "counted_side": "long",
    "view": None,
    "finish": None,
    "entry_noise": True,
    "observed_every": None,
    "aspect": None,
    "penalty": "between",
    "penalty_every": 1,
    "window": "square",
    "error": "mse",
    "type": "patch",
}
"""Fields younger than digests, with the value that stands for how it was without them. Digests
leave them out there: what was computed before still counts."""


def _without_additions(node: Any) -> Any:
    if isinstance(node, dict):
        pairs = [(key, child, _without_additions(child)) for key, child in node.items()]
        return {
            key: plain
            for key, child, plain in pairs
            if key not in _ADDITIONS or _ADDITIONS[key] not in (child, plain)
        }
    return [_without_additions(child) for child in node] if isinstance(node, list | tuple) else node


Value = TypeVar("Value")


def read_json(text: str | bytes, kind: type[Value]) -> Value:
    """Read JSON that is a recipe or holds one, of this version or of an earlier one.

    Args:
        text: JSON.
        kind: type of the result.

    Raises:
        msgspec.DecodeError: it is not of that kind.
    """
    try:
        tree = msgspec.json.decode(text)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
    recipe = tree.get("recipe", tree) if isinstance(tree, dict) else tree
    if isinstance(recipe, dict) and isinstance(recipe.get("critic"), dict):
        recipe["critic"].setdefault("type", "patch")  # the only one there was
    return msgspec.convert(tree, kind)
