"""`singleimage export`: a model for other programs."""

from typing import Any

from singleimage.commands.arguments import (
    Json,
    Output,
    Overwrite,
    Source,
    load_model,
    target_size,
)
from singleimage.commands.console import print_result


def export(
    source: Source,
    /,
    *,
    output: Output,
    size: str | None = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> int:
    """Write a model for other programs: a trained one as ONNX, a photo as a page that draws.

    Parameters
    ----------
    output
        The file: .onnx of a model, from noise to image, for onnxruntime; .html of a photo, for
        browsers, without a server.
    size
        Size of the images of an .onnx, as HEIGHTxWIDTH; default: that of the training image.
    """
    from singleimage.models.export import export as write

    model = load_model(source, "cpu", "fp32", moving=True)
    target = target_size(model, size, None)
    write(model, output, target, overwrite=overwrite)
    found = target or model.size
    facts: dict[str, Any] = {"file": str(output)}
    if output.suffix.lower() == ".onnx":
        facts["size"] = list(found)
        text = f"network in {output}, which draws {found.height}x{found.width}"
    else:
        text = f"page in {output}; open it in a browser"
    print_result(facts, text, as_json)
    return 0
