"""From a photo to a vector: the embedding is torchvision's residual network."""

import torch
from torch import nn

from reference import meta as paper
from reference.compare import F64, TOLERANCE, difference, noise
from reference.torchvision_models import torchvision_models
from reference.translate import embedding_of
from singleimage.nn.embedding import BatchNorm, EmbeddingSpec, init_embedding

VIEW = 64


def test_the_embedding_is_the_residual_network_of_torchvision() -> None:
    """And that of the transcription, in both modes, running statistics included."""
    theirs: nn.Module = torchvision_models().resnet34(weights=None).to(F64)
    for name, value in [*theirs.named_parameters(), *theirs.named_buffers()]:
        if value.ndim == 1 and value.is_floating_point():
            value.data += 0.1 * noise(*value.shape, seed=len(name)).tanh()
    setattr(theirs, "fc", nn.Identity())  # noqa: B010
    with torch.device("meta"):
        embedding = EmbeddingSpec(view=VIEW).build(channels=3)
    known = theirs.state_dict() | {"linear.weight": noise(512, 512), "linear.bias": noise(512)}
    copies = (value.clone() for value in known.values())
    embedding.load_state_dict(dict(zip(embedding.state_dict(), copies, strict=True)), assign=True)
    weights = embedding_of(embedding)
    images = noise(2, 3, VIEW, VIEW, seed=3).mul(0.5).clamp(-1, 1)
    assert embedding.linear is not None
    with torch.no_grad():
        for train in (False, True):
            expected = embedding.linear(theirs.train(train)(images))
            transcribed = paper.embed(weights, images, view=VIEW, train=train)
            found = embedding.train(train)(images)
            assert max(difference(found, x) for x in (expected, transcribed)) < TOLERANCE
    for name, value in embedding_of(embedding).items():
        assert difference(value.to(F64), weights[name].to(F64)) < TOLERANCE, name
        if not name.endswith("running_var"):  # torchvision's is that of more photos
            assert difference(value.to(F64), known[name].to(F64)) < TOLERANCE, name


def test_a_batch_that_never_changes_is_the_same_in_training_and_in_use() -> None:
    norm = BatchNorm(3)
    images = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for _ in range(300):
        made = norm(images)
    torch.testing.assert_close(norm.eval()(images), made, rtol=0, atol=1e-5)


def test_gradients_of_few_channels_are_those_in_float64() -> None:
    """A strided 1x1 convolution of four channels wrote beyond its memory without AVX-512."""
    found = []
    for dtype in (torch.float32, F64):
        embedding = EmbeddingSpec(view=VIEW, width=4, blocks=(1, 1, 1, 1)).build(channels=3)
        init_embedding(embedding, torch.Generator().manual_seed(0))
        made = embedding.to(dtype)(noise(2, 3, VIEW, VIEW, seed=3).to(dtype))
        found.append(torch.autograd.grad(made.square().sum(), [*embedding.parameters()]))
    for one, other in zip(*found, strict=True):
        assert difference(one.to(F64), other) < 1e-3
