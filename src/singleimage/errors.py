"""Every error a user can cause. The command line prints the message alone and exits with 2.

A message says what was wrong, the limit, and the next step, in one line.
"""


class SingleImageError(Exception):
    """Base of all errors that are the user's to mend."""


class ImageError(SingleImageError):
    """A file cannot be read as an image, or an image cannot be learned from."""


class SizeError(SingleImageError):
    """A size does not fit the pyramid."""


class RecipeError(SingleImageError):
    """An unknown preset, an unknown field, or a value that a field does not take."""


class ModelFileError(SingleImageError):
    """A file is not a model of this package, or it is damaged."""


class UnsupportedEntry(SingleImageError):
    """A level of this model cannot take an image."""


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
