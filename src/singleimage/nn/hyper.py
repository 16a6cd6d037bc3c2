"""Networks whose weights are predicted from an image.

Bensadoun, Gur, Galanti, Wolf: Meta Internal Learning, NeurIPS 2021, section 3; details from its
published code. The primary network is a `PatchNet` without norm: five 3x3 convolutions, one set of
weights an image. It runs image by image, each a chain of its own (`nn.convolution`): with weights
in the order in which the convolutions want them that is faster than one grouped convolution.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from singleimage.machine.device import channels_last
from singleimage.nn.blocks import Channels, PatchNet, Slope
from singleimage.nn.convolution import Link, chain, judge, mean_scores
from singleimage.nn.critic import Critic, CriticOutputs, Scorer
from singleimage.nn.embedding import Embedding, EmbeddingSpec, init_embedding, init_linear

Rank = Annotated[int, msgspec.Meta(ge=1, le=4096)]
LINEAR, TANH = 1.0, 5 / 3
"""Gains of a last layer: what follows it is nothing, or tanh."""


class PrimaryShape(NamedTuple):
    """The shape of a primary network."""

    c_in: int
    width: int
    c_out: int
    slope: float
    gain: float
    """Factor on the predicted weights of the last layer."""

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Channels (out, in) of the convolutions."""
        return [(o, i) for i, o in pairwise((self.c_in, *[self.width] * 4, self.c_out))]

    @property
    def numbers(self) -> int:
        """Weights and biases in all."""
        return sum(9 * o * i + o for o, i in self.shapes)

    @property
    def slopes(self) -> list[float | None]:
        """Slopes of the leaky ReLUs after each convolution; None after the last, which has none."""
        return [self.slope] * 4 + [None]

    def layers(self, predicted: Tensor) -> list[Tensor]:
        """Shape the numbers predicted for one image into weights and biases.

        Predicted weights are divided by sqrt(9 in) and multiplied by the layer's gain, biases
        divided by sqrt(in), so that the network begins in balance (the published code).

        Args:
            predicted: all numbers of one image, in one row.

        Returns:
            Weight (out, in, 3, 3) and bias (out,) of every layer in turn.
        """
        tensors: list[Tensor] = []
        leaky = math.sqrt(2 / (1 + self.slope**2))
        place = 0
        for index, (c_out, c_in) in enumerate(self.shapes):
            gain = leaky if index < len(self.shapes) - 1 else self.gain
            weight = predicted[place : (place := place + 9 * c_out * c_in)]
            bias = predicted[place : (place := place + c_out)]
            weight = weight * (gain / math.sqrt(9 * c_in))
            tensors += [weight.view(c_out, 3, 3, c_in).permute(0, 3, 1, 2), bias * c_in**-0.5]
        return tensors


class WeightHead(nn.Module):
    """From vectors (B, features) to the numbers of primary networks (B, n), linearly.

    All layers' projections are one matrix. With a rank it is a product of two: an image becomes a
    short code, and the numbers are combinations of so many learned networks.
    """

    compute: torch.dtype | None = None
    """Type in which the primary networks compute; None: that of their input."""

    def __init__(self, features: int, numbers: int, rank: int | None) -> None:
        super().__init__()
        self.code = None if rank is None else nn.Linear(features, rank)
        self.numbers = nn.Linear(rank or features, numbers)

    def forward(self, features: Tensor) -> Tensor:
        """Map `features` (B, features) to the numbers (B, n) of every primary network."""
        predicted: Tensor = self.numbers(features if self.code is None else self.code(features))
        return predicted

    def init(self, generator: torch.Generator) -> None:
        """Initialize as PyTorch does; a code then is as large as what it is made of.

        Args:
            generator: source of all randomness.
        """
        if self.code is not None:
            init_linear(self.code, generator, gain=math.sqrt(3))
        init_linear(self.numbers, generator)


class GivenNets(nn.Module):
    """Primary networks with given weights: image j of a batch goes through network j modulo n."""

    margin = PatchNet.margin

    def __init__(self, form: PrimaryShape, predicted: Tensor, compute: torch.dtype | None) -> None:
        """`predicted`: (n, form.numbers), with the graph that leads to them."""
        super().__init__()
        self._form = form
        self._given = compute
        self._compute = compute or predicted.dtype
        self._layers = [form.layers(one) for one in predicted.unbind()]
        self._links = [self._cast(layers) for layers in self._layers]

    def forward(self, x: Tensor) -> Tensor:
        """Run every image through the network of its photo.

        Args:
            x: (k n, c_in, H, W): image j goes through network j modulo n.

        Returns:
            (k n, c_out, H - 10, W - 10).
        """
        count = len(self._layers)
        parts = [
            chain(x[i::count].to(self._compute), links, layers)
            for i, (links, layers) in enumerate(zip(self._links, self._layers, strict=True))
        ]
        return _interleaved(parts).to(x.dtype)

    def mean_scores(self, images: Tensor) -> Tensor:
        """Score `images` as `PatchNet.mean_scores` does, each by the network of its photo."""
        count, cast = len(self._layers), images.to(self._compute)
        scores = [
            mean_scores(cast[i::count], links, layers)
            for i, (links, layers) in enumerate(zip(self._links, self._layers, strict=True))
        ]
        return _interleaved(scores).to(images.dtype)

    def judge(self, real: Tensor, fake: Tensor, between: Tensor, seed: int) -> CriticOutputs:
        """Judge `real`, `fake` and what lies `between` with `seed`, as `Scorer.judge`.

        Image j of each is judged by network j modulo n.
        """
        count = len(self._layers)
        images, points = (x.to(self._compute) for x in (torch.cat([real, fake]), between))
        found = [
            judge(images[i::count], points[i::count], links, layers)
            for i, (links, layers) in enumerate(zip(self._links, self._layers, strict=True))
        ]
        scores = _interleaved([score for score, _, _ in found]).to(real.dtype)
        gradient = _interleaved([gradient for _, gradient, _ in found]).to(real.dtype)
        return CriticOutputs(scores[: len(real)], scores[len(real) :], gradient)

    def net(self, index: int) -> PatchNet:
        """Return network number `index` as one with weights of its own."""
        form = self._form
        with torch.device(self._layers[index][0].device):
            net = PatchNet(form.c_in, form.width, form.c_out, norm="none", slope=form.slope)
        for conv in (*net.trunk.layers, net.last):
            conv.compute = self._given
        for parameter, value in zip(net.parameters(), self._layers[index], strict=True):
            parameter.data = value.detach().clone(memory_format=torch.preserve_format)
        return net

    def _cast(self, layers: Sequence[Tensor]) -> list[Link]:
        cast = [tensor.detach().to(self._compute) for tensor in layers]
        return [
            Link(channels_last(weight), bias, slope)
            for weight, bias, slope in zip(cast[::2], cast[1::2], self._form.slopes, strict=True)
        ]


def _interleaved(parts: Sequence[Tensor]) -> Tensor:
    """n results of k images each, in the order of the batch they were taken from."""
    return torch.stack(list(parts), 1).flatten(0, 1)


class HyperCriticSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hyper"
):
    """A critic for each photo, predicted from it: (B, C, H, W) -> (B, 1, H - 10, W - 10)."""

    embedding: EmbeddingSpec = EmbeddingSpec()
    shared: Literal["no", "both", "generator", "penalty"] = "no"
    """Whether it is the generator's embedding, a shared feature extractor (the paper's analysis,
    which shows why not to), and what it then learns from: both players' losses (variant A), the
    generator's alone, or the generator's and the critic's penalty (variant B, which is printed with
    the generator's projection in place of the critic's, on which the penalty does not depend)."""
    rank: Rank | None = None
    """Rank of the factorised projection; null: the full matrix of the published code."""
    width: Channels = 64
    slope: Slope = 0.02
    """Negative slope of the leaky ReLU."""

    @property
    def smallest_image(self) -> int:
        """Pixels a side of the smallest image that the critic can score."""
        return 2 * PatchNet.margin + 1

    def build(
        self, *, level: int, channels: int, generator: torch.Generator | None
    ) -> "HyperCritic":
        """Build a fresh critic.

        Args:
            level: makes no difference.
            channels: of the images.
            generator: source of all randomness; None: weights stay as they are, to be loaded.
        """
        with torch.random.fork_rng(devices=()):  # PyTorch fills new layers from the global one
            critic = HyperCritic(self, channels)
        if generator is not None:
            if critic.embedding is not None:
                init_embedding(critic.embedding, generator)
            critic.head.init(generator)
        return critic


class HyperCritic(Critic):
    """Predicts the critic of each photo; `bind` gives the critics."""

    per_photo = True

    def __init__(self, spec: HyperCriticSpec, channels: int) -> None:
        super().__init__()
        self.form = PrimaryShape(channels, spec.width, 1, spec.slope, LINEAR)
        self.embedding: Embedding | None = None
        if spec.shared == "no":
            self.embedding = spec.embedding.build(channels=channels)
        self.shared = spec.shared
        self.moves_generator = spec.shared in ("both", "penalty")
        self.head = WeightHead(spec.embedding.features, self.form.numbers, spec.rank)
        self._lent: tuple[nn.Module, ...] = ()  # in a tuple it is no part of this module

    def borrow(self, embedding: nn.Module) -> None:
        if self.shared != "no":
            self._lent = (embedding,)

    def learning(self) -> list[nn.Parameter]:
        lent = self._lent if self.moves_generator else ()
        return [p for module in (self, *lent) for p in module.parameters()]

    def bind(self, photos: Tensor, share: slice) -> Scorer:
        seen = self._embed(photos)[share]
        nets = self._nets(seen)
        return _PenaltyAlone(nets, self._nets(seen.detach())) if self.shared == "penalty" else nets

    def _embed(self, photos: Tensor) -> Tensor:
        embedding = self._lent[0] if self._lent else self.embedding
        assert embedding is not None, "the embedding to share is missing"
        vectors: Tensor = embedding(photos)
        return vectors

    def _nets(self, seen: Tensor) -> GivenNets:
        return GivenNets(self.form, self.head(seen), self.head.compute)

    @torch.no_grad()
    def critic_of(self, photo: Tensor) -> PatchNet:
        before = [(module, module.training) for module in (self, *self._lent)]
        for module, _ in before:
            module.eval()  # so that it depends on this photo alone
        try:
            return self._nets(self._embed(photo)).net(0)
        finally:
            for module, training in before:
                module.train(training)


class _PenaltyAlone:
    """Predicted critics, the scores of whose turn do not move what their weights come from."""

    def __init__(self, nets: GivenNets, detached: GivenNets) -> None:
        """The same critics, and again with the embedding detached."""
        self._nets = nets
        self._detached = detached

    def mean_scores(self, images: Tensor) -> Tensor:
        return self._nets.mean_scores(images)

    def judge(self, real: Tensor, fake: Tensor, between: Tensor, seed: int) -> CriticOutputs:
        said = self._detached.judge(real, fake, between, seed)
        if not len(between):
            return said
        return said._replace(gradient=self._nets.judge(real, fake, between, seed).gradient)
