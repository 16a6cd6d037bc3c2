"""Every error a user can cause. The command line prints the message alone and exits with 2.

A message says what was wrong, the limit, and the next step, in one line.
"""

import os

LESS_MEMORY = "use a smaller size, or train with a smaller pyramid (`train --dry-run` lists it)"
"""What to do when memory runs out."""


NO_MEMORY = (
    *("out of memory", "enough memory", "allocate memory", "buffer size", "ALLOC_FAILED"),
    *("create a memory", "create a primitive", "execute a primitive"),
)
"""What libraries say where memory runs out; the latter are oneDNN's words."""


def in_words(error: BaseException, *, less_memory: str = LESS_MEMORY) -> str | None:
    """What went wrong, in one line for the user; None: it is a bug, and a traceback says more.

    Args:
        error: any exception.
        less_memory: what the user can do where memory runs out.
    """
    words = " ".join(str(error).split())
    if isinstance(error, SingleImageError):
        return words
    if isinstance(error, MemoryError):
        return f"out of memory; {less_memory}."
    if isinstance(error, RuntimeError) and any(sign in words for sign in NO_MEMORY):
        return f"out of memory; {less_memory}."
    if isinstance(error, RuntimeError) and "can't start new thread" in words:
        return "the system allows no more threads; use --device cpu:1, or end other programs."
    if isinstance(error, UnicodeEncodeError):
        return "a name has characters that cannot be shown or stored here; use plain letters."
    if isinstance(error, OSError):
        what = f"{os.fsdecode(error.filename or 'a file')}: {error.strerror or error}"
        return f"cannot read or write {what}; check the path and the free space."
    return None


class SingleImageError(Exception):
    """Base of all errors that are the user's to mend."""


class ImageError(SingleImageError):
    """A file cannot be read as an image, or an image cannot be learned from."""


class SizeError(SingleImageError):
    """An image or a size is too small, too large or too narrow for what is asked."""


class ArgumentError(SingleImageError):
    """A number is out of range, a level does not exist, or arguments do not go together."""


class RecipeError(SingleImageError):
    """An unknown preset, an unknown field, or a value that a field does not take."""


class ModelFileError(SingleImageError):
    """A file is not a model of this package, or it is damaged."""


class UnsupportedEntry(SingleImageError):
    """An image cannot enter this model, or not at this level."""


class OutputError(SingleImageError):
    """A result cannot be written where it was asked for."""


class RunError(SingleImageError):
    """A run folder belongs to another training, or cannot be continued."""


class DeviceError(SingleImageError):
    """A device is not available on this machine."""


class Diverged(SingleImageError):
    """Training produced a loss that is not finite or has exploded."""


class WeightsError(SingleImageError):
    """The weights of a feature extractor are missing, damaged or of another network."""


class Incomparable(SingleImageError):
    """Numbers that were measured differently were to be compared or averaged."""


class MaskError(SingleImageError):
    """A mask marks nothing or everything, or has another size than its picture."""
