"""The package's modules as the plain tensors that the transcriptions compute with."""

import re

import torch
from torch import nn

from reference import fast_stabilized as fast
from reference import meta
from reference import singan as paper
from reference.compare import conv_of, convs_of, copied
from singleimage.generators.growing import Growing
from singleimage.nn.blocks import PatchNet
from singleimage.nn.decoding import DecodingCritic
from singleimage.nn.embedding import Embedding
from singleimage.nn.involution import Involution, InvolutionBody, InvolutionStack


def consingan_of(g: Growing) -> paper.ConSinGAN:
    bodies = [convs_of(block) for block in g.blocks]
    return paper.ConSinGAN(convs_of(g.head)[0], bodies, conv_of(g.tail), g.spec.slope)


def patch_critic_of(critic: nn.Module) -> list[paper.Conv]:
    assert isinstance(critic, PatchNet)
    return [*convs_of(critic.trunk), conv_of(critic.last)]


def level_of(net: nn.Module) -> paper.SinGANLevel:
    """A network of SinGAN; norms without running statistics get those of a fresh norm."""
    assert isinstance(net, PatchNet)
    blocks = []
    for convolved, norm in zip(convs_of(net.trunk), net.trunk.norms, strict=True):
        weight, bias, gamma, beta = convolved
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, variance = copied(norm.running_mean, norm.running_var)
        else:
            mean, variance = torch.zeros_like(bias), torch.ones_like(bias)
        blocks.append(paper.NormConv(weight, bias, gamma, beta, mean, variance))
    return paper.SinGANLevel(blocks, (conv_of(net.last)[0], conv_of(net.last)[1]))


# Fast-Stabilized ---------------------------------------------------------------------------------


def layer_of(involution: nn.Module, conv: nn.Module) -> fast.Layer:
    """Ours has all groups of a tap together; the transcription all taps of a group."""
    assert isinstance(involution, Involution)
    weight, bias = conv_of(involution.expand)
    taps = len(bias) // involution.groups
    order = torch.arange(len(bias)).view(taps, involution.groups).t().flatten()
    scale, shift = copied(*involution.norm.parameters())
    squeeze = involution.squeeze.weight.detach().clone()
    return fast.Layer(squeeze, (scale, shift), (weight[order], bias[order]), conv_of(conv))


def fast_generator_of(g: Growing) -> fast.Generator:
    assert isinstance(g.spec.body, InvolutionBody)
    bodies = []
    for block in g.blocks:
        assert isinstance(block, InvolutionStack)
        pairs = zip(block.involutions, block.convs, strict=True)
        bodies.append([layer_of(*pair) for pair in pairs])
    (head,) = convs_of(g.head)
    return fast.Generator(head, bodies, conv_of(g.tail), g.spec.body.dilation, g.spec.slope)


def decoder_of(decoder: nn.Module | None) -> fast.Decoder | None:
    if decoder is None:
        return None
    convs, norms = decoder.get_submodule("convs"), decoder.get_submodule("norms")
    assert isinstance(convs, nn.ModuleList)
    assert isinstance(norms, nn.ModuleList)
    found = []
    for conv, norm in zip(convs, norms, strict=True):
        weight, bias = conv_of(conv)
        scale, shift = copied(*norm.parameters())
        found.append((weight, bias, scale, shift))
    return fast.Decoder(found, conv_of(decoder.get_submodule("last")))


def decoding_critic_of(critic: nn.Module) -> fast.Critic:
    assert isinstance(critic, DecodingCritic)
    convs = [*convs_of(critic.net.trunk), conv_of(critic.net.last)]
    slope = critic.net.trunk.slope
    return fast.Critic(convs, decoder_of(critic.full), decoder_of(critic.crop), slope)


# Meta Internal Learning --------------------------------------------------------------------------


def embedding_of(embedding: Embedding) -> meta.Weights:
    state = {name: value.detach().clone() for name, value in embedding.state_dict().items()}
    return {
        re.sub(r"^stages.(\d)", lambda m: f"layer{int(m[1]) + 1}", n): v for n, v in state.items()
    }
