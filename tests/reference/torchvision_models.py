"""torchvision's networks, to compare with."""

import importlib
import importlib.util
import sys
import warnings
from typing import Any

import pytest
import torch

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def torchvision_models() -> Any:
    """`torchvision.models`, even beside a torch that its operators were not compiled for.

    Import then fails at operators of boxes that are not declared; no model here calls them.
    """
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    missing: str | None = None
    while True:
        try:
            with warnings.catch_warnings(action="ignore"):
                return importlib.import_module("torchvision.models")
        except RuntimeError as error:
            words = [word for word in str(error).split() if word.startswith("torchvision::")]
            if not words or words[0] == missing:
                raise
            missing = words[0]
            torch.library.define(missing, SCHEMA)
            for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
