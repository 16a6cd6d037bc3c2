"""What applications, the trainer and objectives may ask of a generator, whatever its method.

`Generator` is what applications see. `Learner` is what the trainer sees of a generator that is
trained, and `TrainingView` what an objective sees of it during one step. What only some methods can
is a member with a default that does nothing or refuses in one line, so nobody asks for a class.
"""

import abc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from singleimage.errors import ArgumentError, RecipeError, UnsupportedEntry
from singleimage.multiscale.geometry import OPEN, Size, Wrap
from singleimage.multiscale.latent import Latent
from singleimage.multiscale.pyramid import Ladder, Pyramid
from singleimage.nn.critic import Critic

ALL = slice(None)
"""The whole of a batch."""


@dataclass(frozen=True)
class Injection:
    """An image that enters at a level, instead of what the level below would have sent.

    At level n > 0 it is what level n - 1 would have produced: images (B, C, h, w) in [-1, 1] of
    that level's size, which the generator enlarges as it enlarges its own. At level 0 it is the
    base input, at the size of level 0.
    """

    level: int
    image: Tensor

    def items(self, indices: Sequence[int]) -> "Injection":
        """The images of these numbers."""
        return Injection(self.level, self.image[list(indices)])


@dataclass(frozen=True, eq=False)
class Known:
    """A picture of which a part is to be new, and what may not be copied into it."""

    image: Tensor
    """(1, C, H, W) in [-1, 1], of the size that is drawn; in the part a first guess."""
    part: Tensor
    """(1, 1, H, W) of zeros and ones: 1 where the picture is to be new."""
    barred: Tensor | None = None
    """(1, 1, h, w) of zeros and ones, of the photo's size: 1 where nothing may come from."""
    corner: tuple[int, int] | None = None
    """Row and column of the photo's top left pixel in the picture, if it shows the photo; None:
    the photo's layout is stretched over it."""
    evenly: bool = False
    """Whether the whole picture is to use all of the photo, as a sample does; else the part
    takes what fits there, and repeats little."""


def no_copier() -> UnsupportedEntry:
    """Say that a trained model knows no pixels of its photo."""
    return UnsupportedEntry(
        "a trained model does not copy its photo's pixels, so it cannot keep some or tell "
        "where they come from; give the photo itself instead of a model."
    )


class Copier(Protocol):
    """A generator all of whose pixels are pixels of its photo."""

    @property
    def photo(self) -> Size:
        """Size of the image that is copied from: the photo, or several side by side."""
        ...

    def sources(
        self, latent: Latent, entry: Injection | None = None, known: Known | None = None
    ) -> Tensor:
        """Where every pixel of the images comes from.

        Args:
            latent, entry: as for `Generator.decode`.
            known: what the images show outside a part; the pixels that come there are not told.

        Returns:
            Row times width plus column of a pixel of the photo at its finest level, (B, H, W)
            integers in main memory.

        Raises:
            UnsupportedEntry: as `Generator.decode`.
            MaskError: all of the photo is barred.
        """
        ...

    def copied(self, places: Tensor) -> Tensor:
        """Images (B, C, H, W), in main memory, of the photo's pixels at `places` (B, H, W)."""
        ...

    def finer(self, image: Tensor, size: Size) -> Tensor:
        """Enlarge images (B, C, h, w) a little, to `size`, with detail the photo has elsewhere."""
        ...


class Generator(Protocol):
    """A model of one image. Applications use these members and no others."""

    @property
    def ladder(self) -> Ladder:
        """The sizes of its levels; while it is trained, of those there are so far."""
        ...

    @property
    def entry_levels(self) -> frozenset[int]:
        """Levels at which an image may enter; the rest raise `UnsupportedEntry`."""
        ...

    @property
    def copier(self) -> "Copier | None":
        """Itself, if it copies every pixel from its photo; else None."""
        ...

    @property
    def device(self) -> torch.device:
        """Device on which it computes."""
        ...

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        """Fresh noise for samples of these level sizes; sample i depends on `seeds[i]` alone.

        Args:
            sizes: of all levels, coarsest first.
            seeds: one a sample.
            wrap: axes on which the samples go on at the opposite edge (see `Latent.wrap`).
        """
        ...

    def anchor(self) -> Latent:
        """The noise that reproduces the training image, batch 1."""
        ...

    def decode(self, latent: Latent, entry: Injection | None = None) -> Tensor:
        """Images (B, C, *finest) from noise, and from an image that enters; nothing is changed.

        Where the latent wraps, so do the images, in one piece or in tiles; one that enters is taken
        to wrap too. Values can leave [-1, 1] a little, as in the papers; files and resizes clamp.

        Raises:
            UnsupportedEntry: `entry.level` is not in `entry_levels`.
        """
        ...

    def lasting(self, frames: int) -> "Generator":
        """Return the same generator for clips of `frames` frames.

        Raises:
            ArgumentError: it draws no clips, or none so short.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """The tensors that a model file keeps of it; empty where it has no weights."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """What was learned; nothing where it has no weights."""
        ...


@dataclass(frozen=True)
class Encoded:
    """An image as an encoder sees it: normal distributions of the values of a map of level 0."""

    image: Tensor
    """(B, C, *sizes[0]) in [-1, 1]."""
    mean: Tensor
    """(B, channels of the map, *sizes[0])."""
    log_variance: Tensor
    """Logarithm of the variance of every value; the shape is that of the mean."""

    def sampled(self, noise: Tensor) -> Tensor:
        """Values of these distributions, for standard normal noise of their shape."""
        return self.mean + self.log_variance.mul(0.5).exp() * noise


Intermediate = tuple[Tensor | None, Latent]
"""What the frozen levels make of a latent (None: nothing is frozen), and the latent itself."""


class TrainingView(abc.ABC):
    """A generator during a step of training: a frozen part, and a part that learns."""

    steady: ClassVar[bool]
    """Whether `run_frozen` makes the same of the anchor during a whole level."""
    together: ClassVar[bool]
    """Whether images made in one call share a batch: no layer mixes or remembers images."""
    predicted: ClassVar[bool] = False
    """Whether the weights are predicted, and the images of all levels learn: a hypernetwork's."""

    @abc.abstractmethod
    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        """Draw fresh noise; `sizes`, `seeds` and `wrap` as for `Generator.draw`."""

    @abc.abstractmethod
    def anchor(self) -> Latent:
        """The noise whose image is to be the photo, batch 1 or that of the photos."""

    @abc.abstractmethod
    def run_frozen(self, latent: Latent) -> Tensor | None:
        """What the frozen levels make of `latent`, without a graph; None if nothing is frozen.

        Of an autoencoder whose decoder learns, it is what that decoder makes, with its graph.
        """

    @abc.abstractmethod
    def run_trained(self, inputs: Sequence[Intermediate], *, observe: bool = True) -> list[Tensor]:
        """The images of the newest level, by the part that learns.

        Args:
            inputs: `(run_frozen(latent), latent)` for each image or batch of images.
            observe: running statistics, where a method has them, take this pass into account.
        """

    @property
    def encoded(self) -> Encoded:
        """The photo as an encoder sees it; only of autoencoders. The anchor is a sample of it."""
        raise AssertionError("a variational objective needs a generator with an encoder")

    @property
    def reconstructions(self) -> list[Tensor]:
        """Where `predicted`: what the anchor became at all levels so far, with its graph."""
        raise AssertionError("only predicted generators show all levels")

    def predict_again(self) -> None:
        """Where `predicted`: what predicts has moved, so forget what it predicted."""

    def follow(self, error: Tensor) -> None:
        """Where `predicted`: make the next step's noise as strong as `error`, the mean squared
        error of the reconstruction (Meta Internal Learning).
        """


class Learner(nn.Module, abc.ABC):
    """A model that grows level by level, as the trainer sees it."""

    learns_several: ClassVar[bool] = False
    """Whether it learns several photos together: a hypernetwork."""
    full_ladder: Ladder
    """The sizes of all levels."""
    amplitudes: Tensor
    """Strength of the noise of each level, (levels,)."""

    @property
    @abc.abstractmethod
    def ladder(self) -> Ladder:
        """The sizes of the levels there are so far."""

    @property
    def entry_levels(self) -> frozenset[int]:
        """Levels at which an image may enter; none unless the method says so."""
        return frozenset()

    @property
    def limit(self) -> float:
        """Largest value of an image, where there is no slope."""
        return 1.0

    @property
    def copier(self) -> Copier | None:
        """None: networks make pixels of their own."""
        return None

    @property
    def device(self) -> torch.device:
        """Device on which it computes."""
        return self.amplitudes.device

    @abc.abstractmethod
    def extend(self, generator: torch.Generator | None) -> None:
        """Add the next level's parameters.

        Args:
            generator: they are drawn from it; None: they are left as they are, for a state that is
                loaded afterwards.
        """

    @abc.abstractmethod
    def grow(self, example: Pyramid, seed: int) -> None:
        """Add the next level, freeze what no longer learns, and calibrate the noise.

        Args:
            example: the photo, or photos, at every level.
            seed: decides the new weights and noise.
        """

    @abc.abstractmethod
    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """What may move at the newest level, and at which rates, for an optimizer of rate `lr`."""

    def refresh(self, seed: int) -> None:
        """Redraw from `seed` what the method redraws before each step, if anything."""

    def looks_back(self, step: int, steps: int) -> bool:
        """Whether the reconstruction passes once more after `step` of `steps`, counted from 0."""
        return False

    @abc.abstractmethod
    def bind(self, example: Pyramid, share: slice = ALL) -> TrainingView:
        """The generator of these photos during a step: itself, or one that depends on them.

        Args:
            example: the photo at every level, (B, C, H, W) for training in batches of B; or B
                photos, where the generator depends on them.
            share: the part of the batch whose images it makes; of those of several photos.
        """

    @abc.abstractmethod
    def generator_of(self, example: Pyramid) -> Generator:
        """What draws pictures of the first photo of `example`: itself, or what it predicts."""

    def begin_from(self, source: "Generator") -> None:
        """Begin every level with the networks of `source` in place of fresh ones.

        Raises:
            RecipeError: this method cannot.
        """
        raise RecipeError(
            "this generator cannot begin from other networks; leave out `start`, or use a recipe "
            "with a cascade."
        )

    def lend_to(self, critic: Critic) -> None:
        """Let a critic share a part of this generator, where the two are made for it."""

    def lasting(self, frames: int) -> Generator:
        """Refuse to draw clips of `frames` frames, unless the method draws clips.

        Raises:
            ArgumentError: it draws none.
        """
        raise ArgumentError("a model of a photo draws no clips; train one with --for video.")

    def embed(self, example: Pyramid) -> Tensor:
        """Embed photos; hypernetworks alone can.

        Args:
            example: the photos at every level, (B, C, H, W).

        Returns:
            Vectors (B, features).

        Raises:
            RecipeError: this method embeds nothing.
        """
        raise RecipeError("this generator embeds no photos; use meta or meta-small.")

    def predict(
        self, vectors: Sequence[Tensor] | Tensor, ladder: Ladder | None = None
    ) -> Generator:
        """Predict the generator of a photo; hypernetworks alone can.

        Args:
            vectors: what `embed` makes of the photo, (1, features); or one vector for each level.
            ladder: the sizes of the photo, if they are not those of training.

        Raises:
            RecipeError: this method predicts nothing.
        """
        raise RecipeError("this generator predicts no others; use meta or meta-small.")


class LearnerSpec(Protocol):
    """The settings of a generator that is trained."""

    trained: ClassVar[Literal[True]]
    learns_several: ClassVar[bool]
    """See `Learner`."""

    def build(self, *, channels: int, ladder: Ladder) -> Learner:
        """Build the generator, without levels yet.

        Args:
            channels: of the images.
            ladder: sizes of all levels.
        """
        ...


class DirectSpec(Protocol):
    """The settings of a generator that needs no training: the photo is all it knows."""

    trained: ClassVar[Literal[False]]

    def generator_of(self, example: Pyramid) -> Generator:
        """Make the generator of a photo.

        Args:
            example: the photo at every level, (1, C, H, W) in [-1, 1].
        """
        ...


def check_injection(entry: Injection, levels: frozenset[int], sizes: Sequence[Size]) -> None:
    """Refuse an image that may not enter.

    Args:
        entry: the image and its level.
        levels: the generator's `entry_levels`.
        sizes: of all levels of the sample.

    Raises:
        UnsupportedEntry: the level takes no image, or the image has another size than the level
            below.
    """
    if entry.level not in levels:
        accepted = ", ".join(map(str, sorted(levels))) or "none"
        raise UnsupportedEntry(
            f"level {entry.level} cannot take an image; this model accepts {accepted}. "
            f"`singleimage info MODEL` lists its levels."
        )
    expected = sizes[max(entry.level - 1, 0)]
    found = tuple(entry.image.shape[-2:])
    if found != expected:
        raise UnsupportedEntry(
            f"the image that enters level {entry.level} must be {expected}, "
            f"not {found[0]}x{found[1]}; resize it first."
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, the module is in eval mode; afterwards as it was."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
