"""What of GIMP 3's `gi.repository` the plug-in uses, on Pillow images, with GIMP's names and rules.

After the reference of libgimp 3.0: an image has layers (the first is on top) and a selection; a
duplicate has them too; `Drawable.fill` ignores the selection, `edit_fill` keeps to it, and fills
all where nothing is selected.
"""

import enum
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image as Pillow
from PIL import ImageChops


class GError(Exception):
    """`GLib.Error`."""


class RunMode(enum.Enum):
    INTERACTIVE = 0
    NONINTERACTIVE = 1


class PDBProcType(enum.Enum):
    PLUGIN = 1


class PDBStatusType(enum.Enum):
    EXECUTION_ERROR = 0
    SUCCESS = 3
    CANCEL = 4


class ProcedureSensitivityMask(enum.Flag):
    DRAWABLE = 1
    DRAWABLES = 4


class MergeType(enum.Enum):
    CLIP_TO_IMAGE = 1


class FillType(enum.Enum):
    FOREGROUND = 0
    WHITE = 3


class Layer:
    """A layer as large as its image."""

    def __init__(self, image: "Image", picture: Pillow.Image) -> None:
        self.image, self.picture, self.name = image, picture, ""

    def set_name(self, name: str) -> bool:
        self.name = name
        return True

    def get_name(self) -> str:
        return self.name

    def fill(self, kind: FillType) -> bool:
        self.picture.paste(_paint(kind), (0, 0, *self.picture.size))
        return True

    def edit_fill(self, kind: FillType) -> bool:
        whole = self.image.selection.getbbox() is None
        self.picture.paste(_paint(kind), (0, 0), None if whole else self.image.selection)
        return True


def _paint(kind: FillType) -> str:
    return "white" if kind is FillType.WHITE else Context.foreground


class Image:
    """An image of RGBA or RGB layers."""

    open: list["Image"] = []  # noqa: RUF012

    def __init__(self, layers: list[Pillow.Image], selection: Pillow.Image | None = None) -> None:
        self.layers = [Layer(self, layer.copy()) for layer in layers]
        self.selection = selection or Pillow.new("L", layers[0].size)
        self.undo: list[str] = []
        Image.open.append(self)

    def duplicate(self) -> "Image":
        return Image([layer.picture for layer in self.layers], self.selection.copy())

    def get_layers(self) -> list[Layer]:
        return self.layers

    def merge_visible_layers(self, kind: MergeType) -> Layer:
        assert kind is MergeType.CLIP_TO_IMAGE
        below = self.layers[-1].picture.convert("RGBA")
        for layer in reversed(self.layers[:-1]):
            below = Pillow.alpha_composite(below, layer.picture.convert("RGBA"))
        self.layers = [Layer(self, below)]
        return self.layers[0]

    def flatten(self) -> Layer:
        self.merge_visible_layers(MergeType.CLIP_TO_IMAGE)
        self.layers[0].picture = self.layers[0].picture.convert("RGB")
        return self.layers[0]

    def insert_layer(self, layer: Layer, parent: None, position: int) -> bool:
        assert layer.image is self
        assert parent is None
        self.layers.insert(position, layer)
        return True

    def undo_group_start(self) -> bool:
        self.undo.append("start")
        return True

    def undo_group_end(self) -> bool:
        self.undo.append("end")
        return True

    def delete(self) -> bool:
        Image.open.remove(self)
        return True


class Selection:
    """Functions of an image's selection."""

    @staticmethod
    def is_empty(image: Image) -> bool:
        return image.selection.getbbox() is None

    @staticmethod
    def invert(image: Image) -> bool:
        image.selection = ImageChops.invert(image.selection)
        return True

    @staticmethod
    def none(image: Image) -> bool:
        image.selection = Pillow.new("L", image.selection.size)
        return True


class Context:
    """Colors of the user, and a stack of them."""

    foreground = "red"
    stack: list[str] = []  # noqa: RUF012

    @classmethod
    def push(cls) -> bool:
        cls.stack.append(cls.foreground)
        return True

    @classmethod
    def pop(cls) -> bool:
        cls.foreground = cls.stack.pop()
        return True

    @classmethod
    def default(cls) -> bool:
        cls.foreground = "black"
        return True


class File:
    """`Gio.File`."""

    def __init__(self, path: str) -> None:
        self.path = path

    @staticmethod
    def new_for_path(path: str) -> "File":
        assert isinstance(path, str)
        return File(path)


def file_save(mode: RunMode, image: Image, file: File, options: None) -> bool:
    assert mode is RunMode.NONINTERACTIVE
    assert options is None
    (layer,) = image.layers
    layer.picture.save(file.path)
    return True


def file_load_layer(mode: RunMode, image: Image, file: File) -> Layer:
    assert mode is RunMode.NONINTERACTIVE
    with Pillow.open(file.path) as opened:
        return Layer(image, opened.copy())


class PlugIn:
    """The class that a plug-in inherits from."""

    __gtype__ = "GimpPlugIn"


class ReturnValues:
    """`Gimp.ValueArray`: its status, and the error."""

    def __init__(self, status: PDBStatusType, error: GError | None) -> None:
        assert error is None or isinstance(error, GError)
        self.status, self.error = status, error


class ImageProcedure:
    """A procedure, and the arguments that it declares."""

    def __init__(self, plug_in: PlugIn, name: str, run: Any) -> None:
        self.plug_in, self.name, self.call = plug_in, name, run
        self.said: dict[str, Any] = {}
        self.defaults: dict[str, Any] = {}

    @classmethod
    def new(
        cls, plug_in: PlugIn, name: str, kind: PDBProcType, run: Any, data: None
    ) -> "ImageProcedure":
        assert kind is PDBProcType.PLUGIN
        assert data is None
        return cls(plug_in, name, run)

    def get_name(self) -> str:
        return self.name

    def set_image_types(self, types: str) -> None:
        self.said["types"] = types

    def set_sensitivity_mask(self, mask: ProcedureSensitivityMask) -> None:
        self.said["sensitivity"] = mask

    def set_menu_label(self, label: str) -> None:
        self.said["label"] = label

    def add_menu_path(self, path: str) -> None:
        self.said["menu"] = path

    def set_documentation(self, blurb: str, help_text: str, help_id: str) -> None:
        self.said["help"] = (blurb, help_text, help_id)

    def set_attribution(self, authors: str, rights: str, date: str) -> None:
        self.said["attribution"] = (authors, rights, date)

    def add_int_argument(
        self, name: str, nick: str, blurb: str, low: int, high: int, value: int, flags: str
    ) -> None:
        assert low <= value <= high < 2**31
        self.defaults[name] = value

    def add_double_argument(
        self, name: str, nick: str, blurb: str, low: float, high: float, value: float, flags: str
    ) -> None:
        assert low <= value <= high
        self.defaults[name] = value

    def new_return_values(self, status: PDBStatusType, error: GError | None) -> ReturnValues:
        return ReturnValues(status, error)


class Config:
    """`Gimp.ProcedureConfig`."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def get_property(self, name: str) -> Any:
        return self.values[name]


class ProcedureDialog:
    """The dialog, in which the user changes `chosen` and presses OK, or Cancel where it is None."""

    chosen: dict[str, Any] | None = {}  # noqa: RUF012

    @classmethod
    def new(cls, procedure: ImageProcedure, config: Config, title: str) -> "ProcedureDialog":
        dialog = cls()
        dialog.config = config  # type: ignore[attr-defined]
        return dialog

    def fill(self, names: None) -> None:
        assert names is None

    def run(self) -> bool:
        if self.chosen is not None:
            self.config.values.update(self.chosen)  # type: ignore[attr-defined]
        return self.chosen is not None

    def destroy(self) -> None:
        pass


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    return module


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `gi` importable."""
    gimp = _module(
        "Gimp",
        **{name: globals()[name] for name in (
            "RunMode", "PDBProcType", "PDBStatusType", "ProcedureSensitivityMask", "MergeType",
            "FillType", "Image", "Layer", "Selection", "PlugIn", "ImageProcedure",
            "file_save", "file_load_layer",
        )},
        context_push=Context.push,
        context_pop=Context.pop,
        context_set_default_colors=Context.default,
        displays_flush=lambda: None,
        progress_init=lambda words: True,
        progress_update=lambda share: True,
    )  # fmt: skip
    parts = {
        "Gimp": gimp,
        "GimpUi": _module("GimpUi", init=lambda name: None, ProcedureDialog=ProcedureDialog),
        "Gio": _module("Gio", File=File),
        "GLib": _module("GLib", Error=GError),
        "GObject": _module("GObject", ParamFlags=_module("ParamFlags", READWRITE="rw")),
    }
    repository = _module("gi.repository", **parts)
    gi = _module("gi", require_version=lambda name, version: None, repository=repository)
    monkeypatch.setitem(sys.modules, "gi", gi)
    monkeypatch.setitem(sys.modules, "gi.repository", repository)


PLUG_IN = Path(__file__).parents[2] / "integrations" / "gimp" / "singleimage" / "singleimage.py"
