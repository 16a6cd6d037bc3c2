"""User studies: balanced questions, answers that last, and what they say."""

import json
import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from encoded import noise, save_png
from singleimage.errors import ArgumentError, ImageError, RunError
from singleimage.studio.study import (
    Answer,
    Participants,
    Study,
    open_study,
    report,
    share,
    trials_of,
)
from singleimage.studio.study_server import make_study_app
from studio_client import HOST, OURS
from tiny import Command


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for method in ("ours", "theirs", "real"):
        (folder / method).mkdir()
        for i in range(7):
            save_png(folder / method / f"{i}.png", noise(20, 24, 3, seed=i + len(method)))
    return folder


def study_of(folders: Path, **more: Any) -> Study:
    second = "real" if more.get("kind", "confusion") == "confusion" else "theirs"
    facts: dict[str, Any] = {"kind": "confusion", "trials": 50}
    return Study(first=str(folders / "ours"), second=str(folders / second), **(facts | more))


def client_of(folder: Path, study: Study) -> TestClient:
    app = make_study_app(Participants(folder, open_study(folder, study)), hosts=frozenset({HOST}))
    return TestClient(app, base_url=f"http://{HOST}", headers=OURS)


def test_half_of_what_is_shown_is_real_and_each_picture_as_often_as_another(folders: Path) -> None:
    study = study_of(folders)
    trials = [trial for trial in trials_of(study, "a" * 16) if not trial.check]
    shown = Counter(trial.pictures[0] for trial in trials)
    assert len(trials) == 50
    assert sum(n for path, n in shown.items() if "/ours/" in path) == 25
    assert set(shown.values()) <= {3, 4}
    assert trials_of(study, "a" * 16) == trials_of(study, "a" * 16)
    assert trials_of(study, "a" * 16) != trials_of(study, "b" * 16)


@pytest.mark.parametrize("kind", ["paired", "random"])
def test_sides_of_a_preference_are_balanced(kind: Any, folders: Path) -> None:
    trials = [t for t in trials_of(study_of(folders, kind=kind), "a" * 16) if not t.check]
    assert sum(trial.right for trial in trials) == 25
    for trial in trials:
        assert "/ours/" in trial.pictures[trial.right]
        assert "/theirs/" in trial.pictures[1 - trial.right]
    same = [Path(t.pictures[0]).stem == Path(t.pictures[1]).stem for t in trials]
    assert all(same) if kind == "paired" else not all(same)


def taken_part(studio: TestClient, study: Study, fooled: int, inattentive: bool = False) -> str:
    """Take part: the first so many fakes are taken for real, all else is right."""
    facts = studio.post("/api/study").json()
    left = fooled
    for index, trial in enumerate(trials_of(study, facts["id"])):
        fake = not trial.check and "/ours/" in trial.pictures[0]
        choice = 1 if fake or trial.check else 0
        if fake and left:
            choice, left = 0, left - 1
        if trial.check and inattentive:
            choice = 0
        answer = {"trial": index, "choice": choice, "seconds": 0.8}
        done = studio.post(f"/api/study/{facts['id']}/answers", json=answer)
        assert done.status_code == 200, done.text
    assert done.json()["answered"] == done.json()["trials"]
    key: str = facts["id"]
    return key


def test_known_answers_give_the_right_percentages_and_intervals(
    folders: Path, tmp_path: Path, command: Command
) -> None:
    study = study_of(folders)
    studio = client_of(tmp_path / "s", study)
    taken_part(studio, study, fooled=10)
    taken_part(studio, study, fooled=6)
    taken_part(studio, study, fooled=25, inattentive=True)
    studio.post("/api/study")  # who leaves at once
    found = report(tmp_path / "s")
    assert (found["participants"], found["left_out"]) == (2, 2)
    fooled = found["shares"]["fooled"]
    assert (fooled.count, fooled.of) == (16, 50)
    assert (fooled.low, fooled.high) == pytest.approx((0.20758, 0.45811), abs=1e-4)
    assert fooled.p == pytest.approx(0.01535, abs=1e-4)
    assert (found["shares"]["doubted"].count, found["shares"]["doubted"].of) == (0, 50)
    done = command(f"study-report {tmp_path}/s")
    assert "32.0 %" in done.out
    assert "16 of 50" in done.out
    told = json.loads(command(f"study-report {tmp_path}/s --json").out)
    assert told["shares"]["fooled"]["count"] == 16


def test_preferences_count_for_the_first(folders: Path, tmp_path: Path) -> None:
    study = study_of(folders, kind="paired", trials=20)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / ".DS_Store").touch()  # of a folder that a Mac has shown
    people = Participants(tmp_path / "s", open_study(tmp_path / "s", study))
    key = people.begin()
    wins = 0
    for index, trial in enumerate(people.trials(key)):
        first = trial.check or wins < 15
        wins += not trial.check and first
        choice = trial.right if first else 1 - trial.right
        people.answer(key, Answer(trial=index, choice=choice, seconds=1.0))
    found = report(tmp_path / "s")["shares"]["first"]
    assert (found.count, found.of) == (15, 20)
    assert found.p == pytest.approx(0.04139, abs=1e-4)


def test_a_fake_beside_its_photo(folders: Path, tmp_path: Path, command: Command) -> None:
    study = study_of(folders, kind="versus", trials=20)
    study = msgspec.structs.replace(study, second=str(folders / "real"))
    people = Participants(tmp_path / "s", open_study(tmp_path / "s", study))
    key, wrong = people.begin(), 0
    for index, trial in enumerate(people.trials(key)):
        if trial.check:
            assert trial.pictures[trial.right] == ""
        else:
            assert "/ours/" in trial.pictures[trial.right]
            assert "/real/" in trial.pictures[1 - trial.right]
            assert Path(trial.pictures[0]).name == Path(trial.pictures[1]).name
        fooled = not trial.check and wrong < 7
        wrong += fooled
        choice = 1 - trial.right if fooled else trial.right
        people.answer(key, Answer(trial=index, choice=choice, seconds=1.0))
    found = report(tmp_path / "s")
    assert (found["participants"], found["names"]) == (1, ("ours", "real"))
    assert (found["shares"]["fooled"].count, found["shares"]["fooled"].of) == (7, 20)
    assert "of ours taken for the real one" in command(f"study-report {tmp_path}/s").out


@pytest.mark.parametrize(
    ("count", "of", "low", "high", "p"),
    [
        (50, 100, 0.40383, 0.59617, 1.0),
        (60, 100, 0.50200, 0.69060, 0.05689),
        (0, 10, 0.0, 0.27753, 0.00195),
        (10, 10, 0.72247, 1.0, 0.00195),
    ],
)
def test_intervals_and_significance_are_those_of_the_textbook(
    count: int, of: int, low: float, high: float, p: float
) -> None:
    found = share(count, of)
    assert (found.low, found.high, found.p) == pytest.approx((low, high, p), abs=1e-4)
    assert math.isnan(share(0, 0).value)


def test_answers_last_and_come_in_their_order(folders: Path, tmp_path: Path) -> None:
    study = study_of(folders, trials=4)
    people = Participants(tmp_path / "s", open_study(tmp_path / "s", study))
    key = people.begin()
    people.answer(key, Answer(trial=0, choice=1, seconds=1.0))
    again = Participants(tmp_path / "s", open_study(tmp_path / "s", study))
    assert again.answered(key) == 1
    for trial in (0, 2, 99):
        with pytest.raises(ArgumentError, match="is not the next one"):
            again.answer(key, Answer(trial=trial, choice=0, seconds=1.0))
    file = next((tmp_path / "s" / "participants").iterdir())
    file.write_bytes(file.read_bytes() + b'{"trial": 1, "cho')  # cut short by a crash
    after = Participants(tmp_path / "s", study)
    assert after.answered(key) == 1
    after.answer(key, Answer(trial=1, choice=0, seconds=1.0))
    assert Participants(tmp_path / "s", study).answered(key) == 2


def test_of_two_clicks_at_once_one_counts(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(folders, trials=4)
    people = Participants(tmp_path / "s", open_study(tmp_path / "s", study))
    key = people.begin()
    count = people.answered

    def slowly(key: str) -> int:
        found = count(key)
        time.sleep(0.05)
        return found

    monkeypatch.setattr(people, "answered", slowly)
    with ThreadPoolExecutor() as clicks:
        done = [
            clicks.submit(people.answer, key, Answer(trial=0, choice=choice, seconds=1.0))
            for choice in (0, 1)
        ]
    assert [one.exception() is None for one in done].count(True) == 1
    (file,) = (tmp_path / "s" / "participants").iterdir()
    assert len(file.read_text().splitlines()) == 2


def test_a_question_that_was_answered_twice_moves_no_other_answer(
    folders: Path, tmp_path: Path
) -> None:
    study = study_of(folders, trials=20)
    people = Participants(tmp_path / "s", open_study(tmp_path / "s", study))
    key = people.begin()
    (file,) = (tmp_path / "s" / "participants").iterdir()
    for index, trial in enumerate(people.trials(key)):
        assert people.answered(key) == index
        people.answer(key, Answer(trial=index, choice=trial.right, seconds=1.0))
        if index == 3:
            again = Answer(trial=3, choice=1 - trial.right, seconds=1.0)
            file.write_bytes(file.read_bytes() + msgspec.json.encode(again) + b"\n")
    found = report(tmp_path / "s")
    assert (found["participants"], found["shares"]["fooled"].count) == (1, 0)
    assert found["shares"]["doubted"].count == 0


def test_pictures_that_are_added_later_change_no_answer(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    save_png(tmp_path / "ours" / "0.png", noise(20, 24, 3))
    study = Study(
        kind="confusion", first=str(tmp_path / "ours"), second=str(folders / "real"), trials=4
    )
    people = Participants(tmp_path / "s", open_study(tmp_path / "s", study))
    key = people.begin()
    for index, trial in enumerate(people.trials(key)):
        people.answer(key, Answer(trial=index, choice=trial.right, seconds=1.0))
    before = report(tmp_path / "s")
    for i in range(1, 5):
        save_png(tmp_path / "ours" / f"{i}.png", noise(20, 24, 3, seed=i))
    assert report(tmp_path / "s") == before
    assert Participants(tmp_path / "s", study).trials(key) == people.trials(key)


def test_nothing_tells_what_is_what(folders: Path, tmp_path: Path) -> None:
    studio = client_of(tmp_path / "s", study_of(folders, trials=4))
    facts = studio.post("/api/study").json()
    assert not {"pictures", "right", "check"} & facts.keys()
    answer = studio.get(f"/api/study/{facts['id']}/pictures/0/0")
    assert answer.content.startswith(b"\x89PNG")
    assert not any(word in str(answer.headers) for word in ("ours", "real"))
    for path in ("0/1", "99/0", "-1/0"):
        assert studio.get(f"/api/study/{facts['id']}/pictures/{path}").status_code == 404
    assert studio.get(f"/api/study/{'0' * 16}").status_code == 404
    for body in (b"{", b"[]", b'{"trial": 0, "choice": 7, "seconds": 1}', b"x" * 20_000):
        done = studio.post(f"/api/study/{facts['id']}/answers", content=body)
        assert done.status_code in (400, 413)


def test_what_cannot_be_asked_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no folder"):
        open_study(tmp_path / "s", study_of(tmp_path / "nowhere"))
    (tmp_path / "other").mkdir()
    save_png(tmp_path / "other" / "x.png", noise(20, 24, 3))
    odd = Study(kind="paired", first=str(folders / "ours"), second=str(tmp_path / "other"))
    with pytest.raises(ArgumentError, match="have no names in common"):
        open_study(tmp_path / "s", odd)
    open_study(tmp_path / "t", study_of(folders))
    with pytest.raises(RunError, match="holds another study"):
        open_study(tmp_path / "t", study_of(folders, trials=9))
    with pytest.raises(RunError, match="holds no study; begin one"):
        report(tmp_path / "u")
    (tmp_path / "t" / "study.json").write_bytes(b"{")
    with pytest.raises(RunError, match=r"study\.json is damaged; restore it"):
        open_study(tmp_path / "t", study_of(folders))
