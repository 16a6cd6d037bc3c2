"""HP-VAE-GAN in plain PyTorch, written from the paper and the published code's facts.

Weights are tensors by the package's names; apart from that it shares nothing with the package. All
that is random is an argument. Videos are (B, C, T, H, W), photos (B, C, H, W).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

F64 = torch.float64

State = dict[str, Tensor]


def plain_conv(x: Tensor, weight: Tensor, bias: Tensor, padding: int = 1) -> Tensor:
    return (F.conv3d if x.dim() == 5 else F.conv2d)(x, weight, bias, padding=padding)


def conv(state: State, name: str, x: Tensor) -> Tensor:
    return plain_conv(x, state[f"{name}.weight"], state[f"{name}.bias"])


def spectral(state: State, name: str, iterations: int) -> Tensor:
    """Weights over their largest singular value, after so many iterations, which are kept."""
    weight, u = state[f"{name}.conv.weight"], state[f"{name}.direction"]
    flat = weight.detach().reshape(len(weight), -1)
    for _ in range(iterations):
        v = flat.T @ u
        v = v / v.norm()
        u = flat @ v
        u = u / u.norm()
    state[f"{name}.direction"] = u
    return weight / torch.einsum("o,oi,i->", u, weight.reshape(len(weight), -1), v)


def divided(state: State, prefix: str, iterations: int) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the layers with spectral norm."""
    names = [name.removesuffix(".direction") for name in state if name.endswith("direction")]
    return [
        (spectral(state, name, iterations), state[f"{name}.conv.bias"])
        for name in names
        if name.startswith(prefix)
    ]


def apply(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    for weight, bias in layers:
        x = F.leaky_relu(plain_conv(x, weight, bias), 0.2)
    return x


def encode(state: State, x: Tensor, iterations: int = 1) -> tuple[Tensor, Tensor]:
    features = apply(divided(state, "encoder.trunk", iterations), x)
    return conv(state, "encoder.mean", features), conv(state, "encoder.log_variance", features)


def normed_net(state: State, level: int, x: Tensor) -> Tensor:
    """Convolutions with batch norm, all by the statistics of the batch."""
    i, prefix = 0, f"levels.{level}"
    while f"{prefix}.convs.{i}.weight" in state:
        x = conv(state, f"{prefix}.convs.{i}", x)
        all_but_channels = [0, *range(2, x.dim())]
        center = x - x.mean(all_but_channels, keepdim=True)
        x = center / (center.square().mean(all_but_channels, keepdim=True) + 1e-5).sqrt()
        scale, shift = (
            state[f"{prefix}.norms.{i}.{n}"].view(-1, *[1] * (x.dim() - 2))
            for n in ("weight", "bias")
        )
        x = F.leaky_relu(x * scale + shift, 0.2)
        i += 1
    return conv(state, f"{prefix}.last", x)


Shape = tuple[int, ...]


def block(state: State, level: int, below: Tensor, shape: Shape, noise: Tensor | float) -> Tensor:
    mode = "trilinear" if below.dim() == 5 else "bilinear"
    up = F.interpolate(below, tuple(shape), mode=mode, align_corners=True)
    return torch.tanh(normed_net(state, level, up + noise) + up)


def generate(
    state: State,
    z: Tensor,
    noises: list[Tensor] | None,
    sizes: Sequence[Shape],
    amplitudes: list[float],
    cut: int = 0,
    silent: int = 0,
) -> list[Tensor]:
    """The images of all levels; what level `cut` - 1 made is detached.

    Up to level `silent` no noise is added.
    """
    images = [torch.tanh(normed_net(state, 0, z))]
    for level in range(1, len(sizes)):
        below = images[-1].detach() if level == cut else images[-1]
        still = noises is None or level <= silent
        drawn = 0.0 if noises is None or still else amplitudes[level] * noises[level]
        images.append(block(state, level, below, sizes[level], drawn))
    return images


def critic_map(state: State, x: Tensor, iterations: int) -> Tensor:
    return conv(state, "last", apply(divided(state, "trunk", iterations), x))


def plain_state(module: nn.Module) -> State:
    """Copies of parameters and buffers by name; parameters are leaves with gradients."""
    parameters = {name for name, _ in module.named_parameters()}
    return {
        name: value.detach().clone().requires_grad_(name in parameters)
        for name, value in module.state_dict().items()
    }


def under(state: State, *prefixes: str) -> list[Tensor]:
    return [value for name, value in state.items() if name.startswith(prefixes) and value.is_leaf]


def clip(tensors: list[Tensor], longest: float) -> None:
    length = math.sqrt(sum(float(t.grad.square().sum()) for t in tensors if t.grad is not None))
    for tensor in tensors:
        if tensor.grad is not None and length > longest:
            tensor.grad.mul_(longest / (length + 1e-6))


class Transcribed:
    """The published training, level by level, given all that is random."""

    flaws: dict[str, Any]

    def __init__(self, **flaws: Any) -> None:
        self.flaws = flaws
        self.g: State = {}
        self.d: State = {}
        self.amplitudes = [1.0]

    def get(self, name: str, value: Any) -> Any:
        return self.flaws.get(name, value)

    def begin(self, level: int) -> None:
        """Fresh optimizers; the newest block and, at the hand-over, the critic are given."""
        lr, scale = 5e-4, self.get("lr_scale", 0.2)
        self.level = level
        if level < 3:
            own = ("encoder.", "levels.0.")
            groups = [{"params": trained(under(self.g, *own)), "lr": lr * scale**level}]
        else:
            groups = []
        if level > 0:
            groups.append({"params": trained(under(self.g, f"levels.{level}.")), "lr": lr})
        self.g_optimizer = torch.optim.Adam(groups, betas=(0.5, 0.999))
        if level >= 3:
            self.d_optimizer = torch.optim.Adam(trained([*self.d.values()]), 5e-4, (0.5, 0.999))

    def sample(self, coarsest: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = encode(self.g, coarsest)
        return mean + (log_variance / 2).exp() * epsilon, mean, log_variance

    def calibrate(self, real: Tensor, coarsest: Tensor, epsilon: Tensor, sizes: Any) -> None:
        with torch.no_grad():
            z, _, _ = self.sample(coarsest, epsilon)
            error = F.mse_loss(generate(self.g, z, None, sizes, [])[-1], real).sqrt()
        self.amplitudes.append(0.1 * float(error) / self.get("batch", len(real)))

    def variational_step(self, a: dict[str, Any]) -> list[Tensor]:
        z, mean, log_variance = self.sample(a["coarsest"], a["epsilon"])
        images = generate(self.g, z, None, a["sizes"], self.amplitudes)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        terms = [
            self.get("weight", 10.0) * F.mse_loss(images[-1], a["real"]),
            10.0 * F.mse_loss(images[0], a["coarsest"]),
            self.get("divergence_weight", 1.0) * divergence.mean(),
        ]
        self.step_generator(sum(terms, torch.zeros((), dtype=F64)))
        return terms

    def adversarial_step(self, a: dict[str, Any]) -> list[Tensor]:
        moving = a["real"].dim() == 5
        silent = self.get("silent", 2 if moving else 0)  # no noise but where there is a critic
        made = generate(self.g, a["maps"][0], a["maps"], a["sizes"], self.amplitudes, 3, silent)
        fake = made[-1]
        layers = divided(self.d, "trunk", self.get("iterations", 3))  # once for all three maps
        shown = fake.detach()
        real_map, fake_map = (conv(self.d, "last", apply(layers, x)) for x in (a["real"], shown))
        between = (a["share"] * a["real"] + (1 - a["share"]) * shown).requires_grad_()
        total = conv(self.d, "last", apply(layers, between)).sum()
        (slope,) = torch.autograd.grad(total, between, create_graph=True)
        penalty = ((slope.square().sum(1).sqrt() - 1) ** 2).mean()
        critic_terms = [-real_map.mean(), fake_map.mean(), self.get("penalty", 0.1) * penalty]
        self.d_optimizer.zero_grad()
        torch.stack(critic_terms).sum().backward()
        self.d_optimizer.step()

        z, _, _ = self.sample(a["coarsest"], a["epsilon"])
        rebuilt = generate(self.g, z, None, a["sizes"], self.amplitudes, cut=3)[-1]
        terms = [
            -critic_map(self.d, fake, 1).mean(),
            self.get("weight", 10.0) * F.mse_loss(rebuilt, a["real"]),
        ]
        self.step_generator(torch.stack(terms).sum())
        return [*critic_terms, *terms]

    def step_generator(self, loss: Tensor) -> None:
        everything = trained([*self.g.values()])
        for tensor in everything:
            tensor.grad = None
        loss.backward()
        if self.get("clip the newest alone", False):
            everything = [t for group in self.g_optimizer.param_groups for t in group["params"]]
        clip(everything, self.get("clip", 0.5))
        self.g_optimizer.step()


def trained(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.requires_grad]
