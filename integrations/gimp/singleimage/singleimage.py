#!/usr/bin/env python3
"""GIMP 3 plug-in: variations, seamless tiles and fillings of an image, as new layers.

It runs the command `singleimage` on temporary PNG files, because GIMP's Python is not the one in
which the package is installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import Gimp, GimpUi, Gio, GLib, GObject  # noqa: E402

PREFIX = "singleimage-"
LABELS = {
    "variations": ("_Variations...", "New pictures made of the image's own pixels"),
    "tile": ("Seamless _Tile...", "Pictures that repeat without a seam"),
    "fill": ("_Fill Selection...", "What is selected is made new from the rest of the image"),
}
"""The menu entry and the help of each procedure."""


class Failed(Exception):
    """What the user is told."""


class SingleImage(Gimp.PlugIn):
    """Three procedures under Filters > Single Image; each adds layers to the image."""

    def do_set_i18n(self, name: str) -> bool:
        """Say that there are no translations."""
        return False

    def do_query_procedures(self) -> list[str]:
        """Name the procedures."""
        return [PREFIX + name for name in LABELS]

    def do_create_procedure(self, name: str) -> Any:
        """Describe one procedure."""
        tool = name.removeprefix(PREFIX)
        label, words = LABELS[tool]
        kind = Gimp.PDBProcType.PLUGIN
        procedure = Gimp.ImageProcedure.new(self, name, kind, self.run, None)
        procedure.set_image_types("RGB*, GRAY*")
        procedure.set_sensitivity_mask(
            Gimp.ProcedureSensitivityMask.DRAWABLE | Gimp.ProcedureSensitivityMask.DRAWABLES
        )
        procedure.set_menu_label(label)
        procedure.add_menu_path("<Image>/Filters/Single Image")
        procedure.set_documentation(words, words, name)
        procedure.set_attribution("The singleimage developers", "Apache-2.0", "2026")
        flags = GObject.ParamFlags.READWRITE
        count = (1, 64, 1 if tool == "fill" else 4)
        procedure.add_int_argument("count", "_Count", "How many layers", *count, flags)
        procedure.add_int_argument("seed", "_Seed", "Of the first", 0, 2**31 - 1, 0, flags)
        if tool != "fill":
            words = "From 0, nearly the image, to 1, its textures alone"
            procedure.add_double_argument("variety", "_Variety", words, 0.0, 1.0, 0.33, flags)
        return procedure

    def run(
        self, procedure: Any, run_mode: Any, image: Any, drawables: Any, config: Any, data: Any
    ) -> Any:
        """Ask for the arguments, draw, and add the layers in one step that can be undone."""
        status = Gimp.PDBStatusType
        if run_mode == Gimp.RunMode.INTERACTIVE:
            GimpUi.init("singleimage")
            dialog = GimpUi.ProcedureDialog.new(procedure, config, "Single Image")
            dialog.fill(None)
            agreed = dialog.run()
            dialog.destroy()
            if not agreed:
                return procedure.new_return_values(status.CANCEL, None)
        tool = procedure.get_name().removeprefix(PREFIX)
        Gimp.progress_init("Single Image")
        try:
            with tempfile.TemporaryDirectory() as folder:
                files = draw(tool, image, config, Path(folder))
                image.undo_group_start()
                try:
                    for file in reversed(files):
                        add_layer(image, file, f"{tool} {file.stem}")
                finally:
                    image.undo_group_end()
        except Failed as failure:
            return procedure.new_return_values(status.EXECUTION_ERROR, GLib.Error(str(failure)))
        Gimp.displays_flush()
        return procedure.new_return_values(status.SUCCESS, None)


def draw(tool: str, image: Any, config: Any, folder: Path) -> list[Path]:
    """Write the image as a PNG, run the command on it, and return the files that it made."""
    photo, made = folder / "photo.png", folder / "made"
    if tool == "fill" and Gimp.Selection.is_empty(image):
        raise Failed("Nothing is selected; select what is to be filled.")
    save_visible(image, photo)
    count, seed = config.get_property("count"), config.get_property("seed")
    if tool == "fill":
        made.mkdir()
        mask = folder / "mask.png"
        save_selection(image, mask)
        files = [made / f"{number}.png" for number in range(seed, seed + count)]
        for number, file in enumerate(files):
            words = ["--mask", mask, "-o", file, "--seed", seed + number]
            singleimage("fill", photo, *words)
            Gimp.progress_update((number + 1) / count)
        return files
    words = ["-n", count, "--seed", seed, "--variety", config.get_property("variety")]
    words += ["--tile", "xy"] if tool == "tile" else []
    singleimage("sample", photo, "-o", made, "--no-sheet", *words)
    return [made / f"{number:04}.png" for number in range(seed, seed + count)]


def save_visible(image: Any, file: Path) -> None:
    """Write what is seen of an image."""
    copy = image.duplicate()
    copy.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE)
    save(copy, file)


def save_selection(image: Any, file: Path) -> None:
    """Write what is selected in white, the rest in black."""
    copy = image.duplicate()  # with its selection
    layer = copy.flatten()
    Gimp.context_push()
    Gimp.context_set_default_colors()  # the foreground is black
    layer.fill(Gimp.FillType.WHITE)  # all of it, whatever is selected
    Gimp.Selection.invert(copy)
    if not Gimp.Selection.is_empty(copy):
        layer.edit_fill(Gimp.FillType.FOREGROUND)
    Gimp.context_pop()
    Gimp.Selection.none(copy)
    save(copy, file)


def save(image: Any, file: Path) -> None:
    """Write an image of our own, and close it."""
    Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, Gio.File.new_for_path(str(file)), None)
    image.delete()


def add_layer(image: Any, file: Path, name: str) -> None:
    """Lay a file over the image."""
    layer = Gimp.file_load_layer(
        Gimp.RunMode.NONINTERACTIVE, image, Gio.File.new_for_path(str(file))
    )
    layer.set_name(name)
    image.insert_layer(layer, None, 0)


def singleimage(*words: Any) -> None:
    """Run the command; raise `Failed` with its words if it fails."""
    program = os.environ.get("SINGLEIMAGE") or shutil.which("singleimage")
    if program is None:
        raise Failed(
            "The command singleimage is not found; install the package, and set the environment "
            "variable SINGLEIMAGE to the path of the command."
        )
    own = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")  # of GIMP's Python
    environment = {name: value for name, value in os.environ.items() if name not in own}
    line = [program, *map(str, words)]
    try:
        done = subprocess.run(
            line,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # of a console, on Windows
        )
    except OSError as error:
        raise Failed(f"Cannot run {program}: {error.strerror}; correct SINGLEIMAGE.") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["singleimage failed."]
        raise Failed(lines[-1].removeprefix("error: "))


if __name__ == "__main__":
    Gimp.main(SingleImage.__gtype__, sys.argv)
