"""`singleimage export`: a model for other programs."""

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
    """Write a trained model as an ONNX file, from noise to image, for onnxruntime and others.

    Parameters
    ----------
    output
        The file, .onnx.
    size
        Size of its images, as HEIGHTxWIDTH; default: that of the training image.
    """
    from singleimage.models.export import export as write

    model = load_model(source, "cpu", "fp32", moving=True)
    target = target_size(model, size, None)
    write(model, output, target, overwrite=overwrite)
    found = target or model.size
    facts = {"file": str(output), "size": list(found)}
    print_result(facts, f"{found.height}x{found.width} pictures by {output}", as_json)
    return 0
