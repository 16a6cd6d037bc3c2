"""A run folder belongs to one run: its recipe, photo, seed and precision."""

from pathlib import Path

import msgspec
import pytest

from singleimage import PRESETS, Run, read_photo, with_overrides
from singleimage.errors import OutputError, RunError
from singleimage.training.identity import Identity, claim, require_start
from tiny import draw, tiny

RECIPE = tiny(PRESETS["consingan"])


def identity(**changes: object) -> Identity:
    facts = {"image": "a.png", "image_sha256": "ab", "seed": 3, "embed_image": True}
    return msgspec.convert({"recipe": RECIPE, **facts, "precision": "fp32", **changes}, Identity)


def test_a_run_of_other_settings_is_not_continued(tmp_path: Path, photo_file: Path) -> None:
    photo = read_photo(photo_file)
    folder = tmp_path / "run"
    Run(folder, photo, RECIPE, seed=3, device="cpu")
    other = with_overrides(RECIPE, {"training.steps": "7"})
    with pytest.raises(RunError, match=r"training.steps: 2, now 7.*another folder"):
        Run(folder, photo, other, seed=3, device="cpu")
    with pytest.raises(RunError, match=r"seed: 3, now 4"):
        Run(folder, photo, RECIPE, seed=4, device="cpu")
    with pytest.raises(RunError, match=r"precision: fp32, now bf16"):
        Run(folder, photo, RECIPE, seed=3, device="cpu", precision="bf16")
    with pytest.raises(RunError, match=r"embed_image: True, now False"):
        Run(folder, photo, RECIPE, seed=3, device="cpu", embed_image=False)
    another = read_photo(draw(tmp_path / "b.png", 1))
    with pytest.raises(RunError, match="another photo or other masks"):
        Run(folder, another, RECIPE, seed=3, device="cpu")
    Run(folder, photo, RECIPE, seed=3, device="cpu", name="of another name")


def test_a_folder_is_claimed_once_and_then_known(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "run"
    assert claim(folder, identity())
    assert not claim(folder, identity())
    assert Identity.read(folder) == identity()
    for field, words in {
        "given_sha256": "another picture to tune on",
        "start_sha256": "another hypernetwork to start from",
    }.items():
        with pytest.raises(RunError, match=words):
            claim(folder, identity(**{field: "cd"}))
    assert Identity.read(folder) == identity()


def test_a_folder_of_other_things_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    assert claim(tmp_path, identity())
    (tmp_path / "run.json").rename(tmp_path / "other.json")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        claim(tmp_path, identity())
    with pytest.raises(RunError, match="holds no run; train one first"):
        Identity.read(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        claim(tmp_path, identity())


def test_a_tuning_starts_from_a_run_of_the_same_photo_and_networks() -> None:
    """The training, the seed and the picture may be others."""
    start = identity()
    longer = with_overrides(RECIPE, {"training.steps": "7"})
    folder = Path("first")
    require_start(start, identity(recipe=longer, seed=4, given_sha256="cd"), folder)
    for other, words in (
        (identity(image_sha256="cd"), "another photo"),
        (identity(precision="bf16"), "another precision"),
        (identity(recipe=with_overrides(RECIPE, {"pyramid.max_size": "40"})), "recipe.pyramid"),
        (identity(recipe=with_overrides(RECIPE, {"generator.width": "7"})), "recipe.generator"),
        (identity(recipe=with_overrides(RECIPE, {"critic.width.base": "7"})), "recipe.critic"),
    ):
        with pytest.raises(RunError, match=f"first was trained with .*{words}; tune it with"):
            require_start(start, other, folder)


def test_why_a_run_cannot_begin_is_said_where_its_lock_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows removes no file that is open."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "in use")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"run\.json: No space left"):
        claim(tmp_path, identity())
