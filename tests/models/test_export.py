"""What onnxruntime draws with an exported model is what the model draws."""

import json
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

import singleimage
from singleimage import Model, export, flow, read_photo
from singleimage.errors import OutputError, SizeError, UnsupportedEntry
from singleimage.generators.patch_vae import ExampleNorm
from singleimage.machine.files import make_folder
from singleimage.models.hypermodel import HyperModel
from singleimage.multiscale.geometry import Part, Size, Window
from singleimage.multiscale.resample import enlarge, resize, stretch
from singleimage.nn.blocks import Conv, ImageNorm, run_chain
from singleimage.nn.involution import Involution, InvolutionBody
from singleimage.nn.precision import use_precision
from tiny import TRAIN_FLAGS, Command, call, pixels, result, slow_but, trained


def filled(module: torch.nn.Module) -> Any:
    """A layer with weights and biases that are not special."""
    source = torch.Generator().manual_seed(1)
    for values in module.parameters():
        torch.nn.init.normal_(values, generator=source)
    return module


Alone = Callable[[Path], AbstractContextManager[None]]
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
SEEDS = [3, 5, 8]
ROUNDING = 1e-4
SMALL = Size(17, 11)
CONV = filled(Conv(4, 4))
NORM = filled(ImageNorm(4))
ONE_KERNEL_EACH = filled(Involution(InvolutionBody(), 4))
TWO_KERNELS = filled(Involution(InvolutionBody(groups=2, kernel=5, dilation=1), 4))


def run(file: Path, maps: tuple[torch.Tensor, ...]) -> NDArray[np.float32]:
    """The images that onnxruntime makes of maps of noise."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    assert names == [f"noise_{level}" for level in range(len(maps))]
    values = {name: x.contiguous().numpy() for name, x in zip(names, maps, strict=True)}
    images: NDArray[np.float32]
    (images,) = session.run(["image"], values)
    return images


def distances(model: Model, file: Path, size: Size) -> NDArray[np.float32]:
    """How far the file's images are from the model's, for the same noise, one and many."""
    generator = model.generator
    found = []
    for seeds in (SEEDS, SEEDS[:1]):
        latent = generator.draw(generator.ladder.sizes_for(size), seeds)
        images = run(file, latent.tensors())
        expected = torch.cat([generator.decode(latent.item(i)) for i in range(len(seeds))])
        assert images.shape == (len(seeds), expected.shape[1], *size)
        assert images.std() > 0.005
        found.append(np.abs(images - expected.clamp(-1, 1).numpy()).ravel())
    return np.concatenate(found)


@pytest.fixture(scope="module")
def exported(tiny_runs: dict[str, Path], shared: Path, alone: Alone) -> Path:
    """A growing generator for images of 40x60, written by the command."""
    folder = make_folder(shared / "exported" / "onnx")
    file = folder / "model.onnx"
    with alone(folder.parent):  # one process of the session writes it, the others wait
        if not file.exists():
            told = result(call(f"export {tiny_runs['consingan']} -o {file} --size 40x60 --json"))
            assert told == {"file": str(file), "size": [40, 60]}
            assert list(folder.iterdir()) == [file]
    return file


@pytest.mark.slow
def test_onnxruntime_draws_the_images_of_a_growing_generator(
    tiny_runs: dict[str, Path], exported: Path
) -> None:
    model = Model.load(tiny_runs["consingan"], precision="fp32")
    assert distances(model, exported, Size(40, 60)).max() < ROUNDING


@pytest.mark.slow
def test_the_python_of_the_page_writes_a_picture(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").symlink_to(exported)
    exec(code, {})
    picture = pixels(tmp_path / "picture.png")
    assert picture.shape == (40, 60, 3)
    assert picture.std() > 1


@pytest.fixture(scope="module")
def cascade(photo_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a cascade of two levels."""
    folder = tmp_path_factory.mktemp("cascade")
    fields = "--set pyramid.min_size=36 --steps 2"
    assert call(f"train {photo_file} -o {folder} {TRAIN_FLAGS['singan']} {fields}").code == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("levels", [2, 3])
def test_onnxruntime_draws_the_images_of_a_cascade_of_another_size(
    levels: int, cascade: Path, tiny_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = cascade if levels == 2 else tiny_runs["singan"]
    model, size = Model.load(run, precision="fp32"), Size(47, 61)
    assert len(model.generator.ladder.sizes) == levels
    export(model, tmp_path / "model.onnx", size)
    found = distances(model, tmp_path / "model.onnx", size)
    # Images are cut to 8 bits between levels, where rounding can cost a level of 255.
    assert np.mean(found < ROUNDING) > 0.98
    assert found.max() < 4 / 127.5


GROWN = (1, 1, 22, 15)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: run_chain(x, [CONV], [0.2]),
        lambda x: CONV(x),
        lambda x: NORM(x),
        lambda x: ExampleNorm(4).eval()(x),
        lambda x: ONE_KERNEL_EACH(x),
        lambda x: TWO_KERNELS(x, (True, False)),
        lambda x: resize(x, Size(31, 20), quantize=True),
        lambda x: resize(x, Size(9, 40), wrap=(True, False)),
        lambda x: stretch(x, Size(33, 22), x.new_ones(1).expand(*x.shape[:2], 33, 22)),
        lambda x: stretch(x, Size(33, 22), part=Part(Window(*GROWN), Window(0, 0, 17, 11), SMALL)),
        lambda x: enlarge(x, Size(40, 30)),
        lambda x: resize(x.repeat(1, 1, 40, 2), Size(1700, 40)),
    ],
)
def test_what_is_recorded_for_other_programs_is_what_is_computed(
    compute: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(3, 4, *SMALL, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = compute(x)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        found = compute(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast-stabilized", "hp-vae-gan", "meta-single"])
def test_onnxruntime_draws_the_images_of_every_other_method(name: str, tmp_path: Path) -> None:
    model = trained(name).model()
    use_precision(model.generator, "bf16")  # files are in float32 all the same
    export(model, tmp_path / "model.onnx")
    use_precision(model.generator, "fp32")
    assert distances(model, tmp_path / "model.onnx", model.size).max() < ROUNDING


@pytest.mark.slow
def test_onnxruntime_draws_the_images_of_a_model_by_a_hypernetwork(
    hyper_run: Path, album: Path, tmp_path: Path
) -> None:
    model = HyperModel.load(hyper_run, precision="fp32").model(read_photo(album / "1.png"))
    export(model, tmp_path / "model.onnx")
    assert distances(model, tmp_path / "model.onnx", model.size).max() < ROUNDING


@pytest.mark.slow
def test_a_file_tells_of_its_model(tiny_runs: dict[str, Path], exported: Path) -> None:
    model, found = Model.load(tiny_runs["consingan"]), onnx.load(exported)
    onnx.checker.check_model(found, full_check=True)
    told = {entry.key: entry.value for entry in found.metadata_props}
    sizes = model.generator.ladder.sizes_for(Size(40, 60))
    latent = model.generator.draw(sizes, [0])
    assert told["singleimage"] == singleimage.__version__
    assert told["recipe"] == model.recipe.name
    assert told["channels"] == "RGB"
    assert told["photo_sha256"] == model.provenance.image_sha256
    assert json.loads(told["sizes"]) == [list(size) for size in sizes]
    assert json.loads(told["noise_shapes"]) == [list(values.shape[1:]) for values in latent.maps]
    strengths = model.generator.state_dict()["amplitudes"].tolist()
    assert json.loads(told["noise_amplitudes"]) == strengths[: len(sizes)]


def test_a_file_that_exists_is_kept(
    tiny_runs: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a graph")
    done = command(f"export {tiny_runs['consingan']} -o {tmp_path}/model.onnx")
    assert done.code == 2
    assert "would be replaced" in done.err
    assert (tmp_path / "model.onnx").read_bytes() == b"a graph"


def test_a_copy_of_the_photo_is_no_graph(photo_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedEntry, match=r"flow model copies .* singleimage train PHOTO"):
        export(flow(read_photo(photo_file)), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_written_are_refused_before_the_work(
    good_run: Path, tmp_path: Path
) -> None:
    model = Model.load(good_run)
    with pytest.raises(OutputError, match=r"use one that ends in \.onnx .* or \.html"):
        export(model, tmp_path / "model.pt")
    with pytest.raises(OutputError, match="there is no folder"):
        export(model, tmp_path / "none" / "model.onnx")
    with pytest.raises(SizeError, match="too small"):
        export(model, tmp_path / "model.onnx", (3, 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", slow_but(["onnx", "onnxscript"], "onnx"))
def test_without_the_extra_one_line_names_it(
    missing: str, good_run: Path, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    done = command(f"export {good_run} -o {tmp_path}/model.onnx")
    assert done.code == 2
    assert done.err == 'error: an ONNX file needs: pip install "singleimage[export]".\n'
