"""Which pictures `sample` has drawn, so that the same command continues after a stop."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from singleimage.errors import OutputError


class Drawn:
    """A file beside the pictures while some are missing: a line for all, then one for each."""

    def __init__(self, folder: Path, drawing: str) -> None:
        """Read what is there.

        Args:
            folder: of the pictures.
            drawing: digest of all that the pictures follow from, but for their seeds; what was
                drawn otherwise does not count.
        """
        self.path = folder / ".samples.jsonl"
        self.seeds: dict[int, dict[str, Any]] = {}
        """What is known of each picture that is whole."""
        self._drawing = drawing
        self.begun = False
        """Whether some were drawn from the same before."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            first, *lines = self.path.read_bytes().splitlines()
            self.begun = json.loads(first)["drawing"] == drawing
            for line in lines if self.begun else ():  # the last one may be cut off
                facts = json.loads(line)
                self.seeds[int(facts.pop("seed"))] = facts

    def begin(self) -> None:
        """Write what there is, before the first picture; raises `OutputError` where that fails."""
        from singleimage.machine.files import write_atomically

        lines: list[dict[str, Any]] = [{"drawing": self._drawing}]
        lines += [{"seed": seed, **facts} for seed, facts in self.seeds.items()]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        write_atomically(self.path, lambda stream: stream.write(data))

    def add(self, seed: int, facts: dict[str, Any]) -> None:
        """Note that the picture of a `seed` is whole, and what is known of it.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"seed": seed, **facts}) + "\n")
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; choose another output."
            ) from None

    def end(self) -> None:
        """All are there."""
        self.path.unlink(missing_ok=True)
