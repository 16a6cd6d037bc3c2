"""A hypernetwork: from a photo to the weights of a cascade that draws it.

Bensadoun, Gur, Galanti, Wolf: Meta Internal Learning, NeurIPS 2021; details from the published
code. Trained on many photos, it models a new one in a single forward pass. What it predicts is an
ordinary `Cascade`, which knows nothing of it.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any, ClassVar, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from singleimage.generators.base import ALL, Intermediate, Learner, TrainingView, evaluating
from singleimage.generators.cascade import Cascade, CascadeSpec
from singleimage.machine.processes import mean_over_processes
from singleimage.multiscale.geometry import OPEN, Size, Wrap
from singleimage.multiscale.latent import Latent, gaussian, seed_for
from singleimage.multiscale.pyramid import Ladder, Pyramid
from singleimage.nn.blocks import Channels, HeadRoom, Slope, Width
from singleimage.nn.critic import Critic
from singleimage.nn.embedding import Embedding, EmbeddingSpec, init_embedding
from singleimage.nn.hyper import TANH, GivenNets, PrimaryShape, Rank, WeightHead


class HyperSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hyper"):
    """How a hypernetwork is built, and the cascades that it predicts."""

    trained: ClassVar[Literal[True]] = True
    learns_several: ClassVar[bool] = True

    embedding: EmbeddingSpec = EmbeddingSpec()
    rank: Rank | None = None
    """Rank of the factorised projections; null: full matrices, as in the published code."""
    width: Channels = 64
    slope: Slope = 0.02
    """Negative slope of the leaky ReLU."""
    head_room: HeadRoom = 0.0
    """How far beyond black and white the images of level 0 may go; finer levels add to them."""

    def cascade(self) -> CascadeSpec:
        """The cascades that are predicted."""
        return CascadeSpec(
            width=Width(base=self.width, limit=self.width),
            norm="none",
            slope=self.slope,
            noise_amplitude=1.0,
            anchor="fixed",
            noise_border="finer",
            base_noise="color",
            enlarging="bilinear",
            entry_noise=False,
            quantize=False,
            head_room=self.head_room,
        )

    def build(self, *, channels: int, ladder: Ladder) -> "HyperCascade":
        with torch.random.fork_rng(devices=()):  # PyTorch fills new layers from the global one
            return HyperCascade(self, channels=channels, ladder=ladder)


class HyperCascade(Learner):
    """An embedding of photos, and for each level a projection to the weights of that level.

    Finished projections stand still; gradients pass through them to the embedding.
    """

    learns_several = True

    def __init__(self, spec: HyperSpec, *, channels: int, ladder: Ladder) -> None:
        super().__init__()
        self.spec = spec
        self.channels = channels
        self.full_ladder = ladder
        self.form = PrimaryShape(channels, spec.width, channels, spec.slope, TANH)
        self.embedding: Embedding = spec.embedding.build(channels=channels)
        self.heads = nn.ModuleList()
        self.register_buffer("amplitudes", torch.ones(len(ladder.sizes)))
        self.register_buffer("anchor_noise", torch.zeros(1, channels, *ladder.sizes[0]))
        self.amplitudes: Tensor
        """Strength of the noise of each level, one for all photos."""
        self.anchor_noise: Tensor
        """One for all photos."""

    @property
    def limit(self) -> float:
        """Largest value of the images of level 0, where tanh has no slope."""
        return 1 + self.spec.head_room

    @property
    def ladder(self) -> Ladder:
        return self.full_ladder.truncated(len(self.heads))

    # Learner

    def extend(self, generator: torch.Generator | None) -> None:
        if len(self.heads):
            head = deepcopy(self.heads[-1])
        else:
            with torch.random.fork_rng(devices=()):
                features = self.spec.embedding.features
                head = WeightHead(features, self.form.numbers, self.spec.rank)
            if generator is not None:
                init_embedding(self.embedding, generator)
                head.init(generator)
        self.heads.requires_grad_(False)
        head.requires_grad_(True)
        self.heads.append(head.to(self.amplitudes.device, self.amplitudes.dtype))

    def grow(self, example: Pyramid, seed: int) -> None:
        level = len(self.heads)
        self.extend(torch.Generator().manual_seed(seed_for(seed, "weights", level)))
        if level == 0:
            shape = self.anchor_noise.shape[1:]
            noise = gaussian(shape, seed_for(seed, "anchor"), like=self.anchor_noise)
            self.anchor_noise.copy_(noise)
            return
        with torch.no_grad():
            trainee = self.bind(example)
            anchor = trainee.anchor()
            (image,) = trainee.run_trained([(trainee.run_frozen(anchor), anchor)])
            self.amplitudes[level] = F.mse_loss(image, example.images[level]).sqrt()

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        learning = [*self.embedding.parameters(), *self.heads[-1].parameters()]
        return [{"params": learning, "lr": lr}]

    def bind(self, example: Pyramid, share: slice = ALL) -> TrainingView:
        """Return the cascades of the photos of `example`, or of a `share` of them, during a step.

        In train mode they depend on the whole batch.
        """
        return PredictedView(self, example, share)

    def generator_of(self, example: Pyramid) -> Cascade:
        return self.predict(self.embed(example))

    def lend_to(self, critic: Critic) -> None:
        critic.borrow(self.embedding)

    # The hypernetwork

    @torch.no_grad()
    def embed(self, example: Pyramid) -> Tensor:
        """Embed the photos of `example`: (B, features); each vector depends on its photo alone."""
        with evaluating(self):
            return self._embed(example)

    @torch.no_grad()
    def predict(self, vectors: Sequence[Tensor] | Tensor, ladder: Ladder | None = None) -> Cascade:
        """Predict the cascade of one photo, with weights of its own.

        Args:
            vectors: (1, features) of the photo, or one vector for each level.
            ladder: sizes of the photo; None: those of training.
        """
        found = self._cascade(vectors, ladder)
        nets = [level.net(0) for level in found.levels if isinstance(level, GivenNets)]
        found.levels = nn.ModuleList(nets)
        found.anchor_noise = found.anchor_noise.clone()
        return found.requires_grad_(False).eval()

    def _embed(self, example: Pyramid) -> Tensor:
        vectors: Tensor = self.embedding(example.seen)
        return vectors

    def predicted(self, example: Pyramid, share: slice) -> Cascade:
        """Predict cascades with the graph that leads to their weights.

        Args:
            example: the photos at every level, (B, C, H, W).
            share: the photos whose cascades are wanted.
        """
        return self._cascade(self._embed(example)[share])

    def _cascade(self, vectors: Sequence[Tensor] | Tensor, ladder: Ladder | None = None) -> Cascade:
        """A cascade whose levels are `GivenNets`, with the graph that leads to them."""
        ladder = ladder or self.full_ladder
        each = [vectors] * len(self.heads) if isinstance(vectors, Tensor) else vectors
        cascade = Cascade(self.spec.cascade(), channels=self.channels, ladder=ladder)
        predicted = [head(vector) for head, vector in zip(self.heads, each, strict=True)]
        compute = self.heads[0].compute if isinstance(self.heads[0], WeightHead) else None
        cascade.levels = nn.ModuleList(GivenNets(self.form, one, compute) for one in predicted)
        cascade.amplitudes = self.amplitudes.clone()  # which follow the reconstruction meanwhile
        cascade.anchor_noise = _repeated(self.anchor_noise, ladder.sizes[0])
        return cascade


def _repeated(noise: Tensor, size: Size) -> Tensor:
    """Noise at another size: its part at the top left, or from there on the same again."""
    rows, columns = (
        torch.arange(wanted, device=noise.device) % here
        for wanted, here in zip(size, noise.shape[-2:], strict=True)
    )
    return noise[..., rows[:, None], columns]


class PredictedView(TrainingView):
    """The cascades of a batch of photos in one step of training."""

    together = True
    steady = False
    predicted = True

    def __init__(self, hyper: HyperCascade, example: Pyramid, share: slice) -> None:
        self._hyper = hyper
        self._example = example
        self._share = share
        self._below: list[Tensor] = []
        self._reconstructions: list[Tensor] = []

    @cached_property
    def _cascade(self) -> Cascade:
        """Predicted when it is first needed: that takes note of the batch, in train mode."""
        return self._hyper.predicted(self._example, self._share)

    @cached_property
    def _anchor(self) -> Latent:
        count = len(self._example.images[0][self._share])
        alone = self._cascade.anchor()
        maps = (values.expand(count, -1, -1, -1) for values in alone.tensors())
        return Latent(tuple(maps), alone.sizes)

    def anchor(self) -> Latent:
        return self._anchor

    def draw(self, sizes: Sequence[Size], seeds: Sequence[int], wrap: Wrap = OPEN) -> Latent:
        return self._cascade.draw(sizes, seeds, wrap)

    def run_frozen(self, latent: Latent) -> Tensor | None:
        """Run the finished levels on `latent`, with their graph: gradients reach the embedding."""
        top, images = len(self._cascade.levels) - 1, list[Tensor]()
        for level in range(top):
            below = images[-1] if images else None
            images.append(self._cascade.image(level, level + 1, below, latent))
        if latent is self._anchor:
            self._below = images
        return self._cascade.enlarged(images[-1], latent, top) if images else None

    def run_trained(self, inputs: Sequence[Intermediate], *, observe: bool = True) -> list[Tensor]:
        top = len(self._cascade.levels) - 1
        images = []
        for enlarged, latent in inputs:
            images.append(self._cascade.refined(top, enlarged, latent))
            if latent is self._anchor:
                self._reconstructions = [*self._below, images[-1]]
        return images

    @property
    def reconstructions(self) -> list[Tensor]:
        """Reconstructions of all levels that the last `run_trained` made."""
        return self._reconstructions

    def predict_again(self) -> None:
        for name in ("_cascade", "_anchor"):
            self.__dict__.pop(name, None)

    def follow(self, error: Tensor) -> None:
        level = len(self._cascade.levels) - 1
        if level > 0:  # the amplitude of level 0 is 1
            self._hyper.amplitudes[level] = mean_over_processes(error.detach()).sqrt()
