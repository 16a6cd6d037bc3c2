"""User studies as the papers made them: what a participant is shown, and what the answers say.

*confusion*: one picture for a second, real or fake (SinGAN, section 3.2, unpaired). *versus*: a
sample beside its photo for a second, which is the fake (the same, paired). *preference*: two
pictures by two methods, which is better; of the same photo (paired) or of any (random), as
ConSinGAN compares itself with SinGAN. Of ten trials one is a check that nobody who looks fails.
"""

import json
import math
import os
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from singleimage.errors import ArgumentError, ImageError, RunError
from singleimage.images.folder import pictures_in
from singleimage.machine.files import make_folder, write_atomically
from singleimage.studio.orders import ID
from singleimage.studio.shelf import new_id

StudyKind = Literal["confusion", "versus", "paired", "random"]
AGAINST_REAL: tuple[StudyKind, ...] = ("confusion", "versus")
"""Kinds that ask what is fake; the others ask what is better."""
CHECKS = 10
"""One trial of so many is a check of attention."""
FORGIVEN = 1
"""Checks that a participant may fail."""
Z = 1.959964
"""Of 95 %."""


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """What a study shows."""

    kind: StudyKind
    first: str
    """Folder of the samples; in a preference of the first method."""
    second: str
    """Folder of real photos; in a preference, of the samples of the second method."""
    trials: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 50
    seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    """How long pictures of *confusion* and *versus* are shown."""
    seed: int = 0

    @property
    def names(self) -> tuple[str, str]:
        """What the two sides are called."""
        second = "real" if self.kind in AGAINST_REAL else Path(self.second).name
        return Path(self.first).name, second


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One question."""

    pictures: tuple[str, ...]
    """Paths: one in *confusion*, else two, from left to right; empty for noise in a check."""
    right: int
    """The right answer: in *confusion* 1 for a fake, 0 for a photo; else the side of the first
    folder, in *versus* that of the fake. In a check, what one who looks says."""
    check: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a participant said."""

    trial: int
    choice: Annotated[int, msgspec.Meta(ge=0, le=1)]
    """0 real, 1 fake; or 0 left, 1 right."""
    seconds: float


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A share of answers."""

    count: int
    of: int
    low: float
    high: float
    p: float
    """Of a share as far from one half, if both answers were as likely (exact, two-sided)."""

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.of if self.of else math.nan


def open_study(folder: Path, study: Study) -> Study:
    """Begin a study in a folder, or go on with it.

    Raises:
        RunError: the folder holds another study, or something else.
        ImageError: a folder of pictures is missing or empty.
        ArgumentError: pairs are asked of folders that have no names in common.
    """
    file = make_folder(folder) / "study.json"
    if file.exists():
        if read_study(folder) != study:
            raise RunError(f"{folder} holds another study; use another folder.")
        return study
    if any(not file.name.startswith(".") for file in folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no study; use another folder.")
    trials_of(study, "0" * 16)  # raises
    make_folder(folder / "participants")
    data = msgspec.json.format(msgspec.json.encode(study), indent=1)
    write_atomically(file, lambda stream: stream.write(data))
    return study


def read_study(folder: Path) -> Study:
    """The study in a folder; raises `RunError` if there is none, or it is damaged."""
    file = folder / "study.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Study)
    except OSError:
        raise RunError(f"{folder} holds no study; begin one with: singleimage study.") from None
    except msgspec.DecodeError:
        raise RunError(f"{file} is damaged; restore it, or use another folder.") from None


def trials_of(study: Study, participant: str) -> list[Trial]:
    """The questions for a participant, in their order: balanced, and different for each.

    Raises:
        ImageError, ArgumentError: as `open_study`.
    """
    dice = random.Random(f"{study.seed}:{participant}")
    ours, theirs = (pictures_in(Path(name)) for name in (study.first, study.second))
    count = study.trials
    trials: list[Trial] = []
    if study.kind == "confusion":
        fakes, reals = _drawn(ours, (count + 1) // 2, dice), _drawn(theirs, count // 2, dice)
        trials += [Trial(pictures=(str(path),), right=1) for path in fakes]
        trials += [Trial(pictures=(str(path),), right=0) for path in reals]
    else:
        sides = [i % 2 for i in range(count)]
        dice.shuffle(sides)
        for (one, other), side in zip(_pairs(study, ours, theirs, dice), sides, strict=True):
            both = (str(one), str(other)) if side == 0 else (str(other), str(one))
            trials.append(Trial(pictures=both, right=side))
    dice.shuffle(trials)
    for place in range(CHECKS // 2, count, CHECKS):
        real = str(dice.choice(theirs))
        side = dice.randrange(2)
        if study.kind == "confusion":
            trials.insert(place, Trial(pictures=("",), right=1, check=True))
        else:
            right = 1 - side if study.kind == "versus" else side  # the noise there, else the photo
            shown = ("", real) if side else (real, "")
            trials.insert(place, Trial(pictures=shown, right=right, check=True))
    return trials


def _drawn(paths: Sequence[Path], count: int, dice: random.Random) -> list[Path]:
    """So many, each as often as the others but for one."""
    found: list[Path] = []
    while len(found) < count:
        found += dice.sample(list(paths), len(paths))
    return found[:count]


def _pairs(
    study: Study, ours: Sequence[Path], theirs: Sequence[Path], dice: random.Random
) -> Iterator[tuple[Path, Path]]:
    if study.kind == "random":
        yield from zip(
            _drawn(ours, study.trials, dice), _drawn(theirs, study.trials, dice), strict=True
        )
        return
    by_name = {path.stem: path for path in theirs}
    both = [path for path in ours if path.stem in by_name]
    if not both:
        raise ArgumentError(
            f"{study.first} and {study.second} have no names in common; name the samples of a "
            f"photo alike, or use --kind {'confusion' if study.kind == 'versus' else 'random'}."
        )
    for path in _drawn(both, study.trials, dice):
        yield path, by_name[path.stem]


class Participants:
    """Who takes part, and what they have said: a file each, which grows by a line an answer."""

    def __init__(self, folder: Path, study: Study) -> None:
        self._folder = folder / "participants"
        self.study = study
        self._trials: dict[str, list[Trial]] = {}
        self._answering = threading.Lock()

    def begin(self) -> str:
        """Return the id of a new participant."""
        key = new_id()
        self._trials[key] = trials_of(self.study, key)
        self._append(key, {"trials": msgspec.to_builtins(self._trials[key])})
        return key

    def trials(self, key: str) -> list[Trial]:
        """The questions of a participant; raises `KeyError` for one who is not known."""
        if key not in self._trials:
            if not ID.fullmatch(key) or not self._file(key).exists():
                raise KeyError(key)
            self._trials[key] = _record(self._file(key))[0]
        return self._trials[key]

    def answered(self, key: str) -> int:
        """The first question without an answer, from 0; raises `KeyError` as `trials`."""
        trials = self.trials(key)
        answers = _record(self._file(key))[1]
        return next((i for i in range(len(trials)) if i not in answers), len(trials))

    def answer(self, key: str, answer: Answer) -> None:
        """Keep an answer, on the disk; raises `ArgumentError` where it is not the next one."""
        with self._answering:  # of two clicks at once, one counts
            if answer.trial != self.answered(key) or answer.trial >= len(self.trials(key)):
                raise ArgumentError("that question is not the next one; load the page again.")
            self._append(key, msgspec.to_builtins(answer))

    def _append(self, key: str, record: dict[str, Any]) -> None:
        file = self._file(key)
        whole = not file.exists() or file.read_bytes().endswith(b"\n")  # or it was cut short
        with file.open("a", encoding="utf-8") as stream:
            stream.write(("" if whole else "\n") + json.dumps(record) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.jsonl"


class _Questions(msgspec.Struct):
    """The first line of a participant's file: later changes of the folders change nothing."""

    trials: list[Trial]


def _record(path: Path) -> tuple[list[Trial], dict[int, Answer]]:
    """What a participant was asked, and has first said to each question, by its number."""
    lines, answers = path.read_bytes().splitlines(), dict[int, Answer]()
    try:
        trials = msgspec.json.decode(lines[0], type=_Questions).trials
    except (IndexError, msgspec.DecodeError):  # cut short by a crash, before the first question
        return [], {}
    for line in lines[1:]:
        with suppress(msgspec.DecodeError):
            answer = msgspec.json.decode(line, type=Answer)
            answers.setdefault(answer.trial, answer)
    return trials, answers


def report(folder: Path) -> dict[str, Any]:
    """What the answers say.

    Returns:
        `participants` that count and those `left_out`, since they have not ended or failed more
        than `FORGIVEN` checks; and each `Share` by its name: in *confusion* how many fakes were
        taken for real (`fooled`), and how many photos for fake (`doubted`); in *versus* how often
        the photo was taken for the fake (`fooled`); else how many preferred the `first`.

    Raises:
        RunError: the folder holds no study, or a damaged one.
    """
    study = read_study(folder)
    kept, left_out = list[list[tuple[Trial, Answer]]](), 0
    for path in sorted((folder / "participants").glob("*.jsonl")):
        trials, answers = _record(path)
        pairs = [(trial, answers[i]) for i, trial in enumerate(trials) if i in answers]
        wrong = sum(trial.check and trial.right != answer.choice for trial, answer in pairs)
        if len(pairs) < len(trials) or not trials or wrong > FORGIVEN:
            left_out += 1
        else:
            kept.append([pair for pair in pairs if not pair[0].check])
    pairs = [pair for one in kept for pair in one]
    shares: dict[str, Share] = {}
    if study.kind == "confusion":
        fakes = [answer.choice for trial, answer in pairs if trial.right == 1]
        reals = [answer.choice for trial, answer in pairs if trial.right == 0]
        shares["fooled"] = share(fakes.count(0), len(fakes))
        shares["doubted"] = share(reals.count(1), len(reals))
    else:
        chosen = [answer.choice == trial.right for trial, answer in pairs].count
        if study.kind == "versus":
            shares["fooled"] = share(chosen(False), len(pairs))
        else:
            shares["first"] = share(chosen(True), len(pairs))
    return {
        "kind": study.kind,
        "names": study.names,
        "participants": len(kept),
        "left_out": left_out,
        "shares": shares,
    }


def share(count: int, of: int) -> Share:
    """A share with its 95 % interval (Wilson, 1927) and its significance (exact binomial test).

    Args:
        count: of the answers.
        of: all answers.
    """
    if not of:
        return Share(count=0, of=0, low=0.0, high=1.0, p=1.0)
    part, spread = count / of, Z**2 / of
    middle = (part + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(part * (1 - part) / of + spread / (4 * of))
    far = abs(2 * count - of)
    tail = sum(math.comb(of, k) for k in range(of + 1) if abs(2 * k - of) >= far)
    return Share(
        count=count, of=of, low=max(middle - half, 0.0), high=min(middle + half, 1.0),
        p=min(tail / 2**of, 1.0),
    )  # fmt: skip


def require_pictures(study: Study) -> None:
    """Raise `ImageError` unless every picture of a study can be read."""
    from singleimage.images.reader import read_photo

    for name in (study.first, study.second):
        for path in pictures_in(Path(name)):
            try:
                read_photo(path)
            except ImageError as error:
                raise ImageError(f"{error} A study needs every picture.") from None
