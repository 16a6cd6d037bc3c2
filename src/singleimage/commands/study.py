"""`singleimage study` and `study-report`: which pictures people take for real, or prefer."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from singleimage.commands.arguments import Json, Output, Seed, Whole
from singleimage.commands.console import print_table, say
from singleimage.commands.serving import Serving, Where, require_packages
from singleimage.errors import ArgumentError

if TYPE_CHECKING:
    from starlette.applications import Starlette


def study(
    first: Path,
    second: Path,
    /,
    *,
    output: Output,
    kind: Literal["confusion", "versus", "paired", "random"] = "confusion",
    trials: Whole = 50,
    seconds: float = 1.0,
    seed: Seed = 0,
    serving: Serving = Serving(),  # noqa: B008, it is frozen
) -> int:
    """Ask people on a page: real or fake, or which of two methods is better.

    Parameters
    ----------
    first
        Folder of samples; of a preference, of the first method.
    second
        Folder of real photos; of a preference, of samples of the second method.
    output
        Folder of the study, where every answer is kept; the same command goes on with it.
    kind
        What is asked. confusion: one picture for a second, real or fake; versus: a sample beside
        its photo for a second, which is the fake; paired: samples of two methods of the same
        photo, which is better; random: of any. Pairs are files of one name.
    trials
        Questions for each participant; one of ten is a check of attention on top.
    seconds
        How long pictures are shown, of confusion and versus.
    seed
        Of the order of questions.
    """
    require_packages()
    from singleimage.studio.study import Participants, Study, open_study, require_pictures
    from singleimage.studio.study_server import make_study_app

    if not 2 <= trials <= 1000 or not 0 < seconds <= 60:
        raise ArgumentError("--trials are 2 to 1000, --seconds over 0 and up to 60.")
    asked = Study(
        kind=kind,
        first=str(first.absolute()),
        second=str(second.absolute()),
        trials=trials,
        seconds=seconds,
        seed=seed,
    )
    require_pictures(asked)
    participants = Participants(output, open_study(output, asked))

    def app(where: Where) -> "Starlette":
        return make_study_app(participants, hosts=where.hosts, token=where.token)

    serving.serve(app, f"study in {output}")
    return 0


def study_report(folder: Path, /, *, as_json: Json = False) -> int:
    """Tell what the answers of a study say: shares, 95 % intervals, significance.

    Parameters
    ----------
    folder
        Of the study.
    """
    from singleimage.studio.study import report

    found = report(folder)
    shares: dict[str, Any] = found.pop("shares")
    if as_json:
        print(json.dumps({**found, "shares": msgspec.to_builtins(shares)}))
        return 0
    first, second = found["names"]
    words = {
        "fooled": f"of {first} taken for {'the real one' if found['kind'] == 'versus' else 'real'}",
        "doubted": f"of {second} taken for fake",
        "first": f"preferred {first} to {second}",
    }
    say(f"{found['participants']} participants, {found['left_out']} left out")
    rows = [
        [
            words[name],
            f"{100 * one.value:.1f} %",
            f"{100 * one.low:.1f} to {100 * one.high:.1f} %",
            f"{one.count} of {one.of}",
            f"{one.p:.3g}",
        ]
        for name, one in shares.items()
    ]
    print_table(["", "share", "95 % interval", "answers", "p (one half)"], rows)
    return 0
