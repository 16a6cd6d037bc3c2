"""What the server does for its page, and what it does not do for anyone else."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from starlette.testclient import TestClient

from encoded import noise, save_png
from singleimage import read_photo
from singleimage.studio import server
from singleimage.studio.intake import keep_photo
from singleimage.studio.shelf import REST, Order, PhotoCard, RunCard, Shelf, State, new_id, now
from singleimage.studio.workshop import progress_of
from studio_client import HOST, OURS, client_of
from tiny import Command


def added(studio: TestClient, data: bytes, name: str = "a.png") -> str:
    answer = studio.post("/api/photos", content=data, headers={"x-name": name})
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["id"]
    return found


def order_of(studio: TestClient, key: str) -> dict[str, Any]:
    orders = studio.get("/api/state").json()["orders"]
    return next(order for order in orders if order["id"] == key)


def ended(studio: TestClient, key: str) -> dict[str, Any]:
    for _ in range(600):
        order = order_of(studio, key)
        if order["state"] not in ("waiting", "running"):
            return order
        time.sleep(0.1)
    raise AssertionError("it does not end")


def test_a_picture_of_the_page_is_that_of_the_command_line(
    studio: TestClient, photo_bytes: bytes, tmp_path: Path, command: Command
) -> None:
    photo = added(studio, photo_bytes)
    made = studio.post("/api/orders", json={"kind": "vary", "photo": photo, "seed": 4, "count": 2})
    order = ended(studio, made.json()["id"])
    assert (order["state"], order["made"]) == ("done", ["0004.png", "0005.png"])
    (tmp_path / "a.png").write_bytes(photo_bytes)
    assert command(f"sample {tmp_path}/a.png -n 2 --seed 4 -o {tmp_path}/o").code == 0
    for name in order["made"]:
        drawn = studio.get(f"/api/orders/{order['id']}/pictures/{name}?as=download")
        assert drawn.content == (tmp_path / "o" / name).read_bytes()
        assert f"a-vary-{name}" in drawn.headers["content-disposition"]
    assert order["shell"][0].startswith("singleimage sample ")


def test_layers_go_along_bit_for_bit_and_the_last_begins_the_order(
    studio: TestClient, photo_bytes: bytes, tmp_path: Path
) -> None:
    photo = added(studio, photo_bytes)
    mask = np.zeros((60, 75, 1), np.uint8)
    mask[20:30, 20:40] = 255
    data = save_png(tmp_path / "m.png", mask).read_bytes()
    made = studio.post("/api/orders", json={"kind": "fill", "photo": photo, "layers": ["mask"]})
    key = made.json()["id"]
    assert order_of(studio, key)["state"] == "stopped"
    assert studio.post(f"/api/orders/{key}/layers/mask", content=data).status_code == 200
    assert studio.post(f"/api/orders/{key}/layers/mask", content=data).status_code == 409
    assert studio.post(f"/api/orders/{key}/layers/keep", content=data).status_code == 404
    order = ended(studio, key)
    assert order["state"] == "done", order["error"]
    picture = studio.get(f"/api/orders/{key}/pictures/{order['made'][0]}").content
    (tmp_path / "p.png").write_bytes(picture)
    (tmp_path / "a.png").write_bytes(photo_bytes)
    outside = mask[..., 0] == 0
    drawn, given = (np.asarray(Image.open(tmp_path / name)) for name in ("p.png", "a.png"))
    np.testing.assert_array_equal(drawn[outside], given[outside])
    assert (drawn[~outside] != given[~outside]).any()


@pytest.mark.parametrize(("bands", "suffix"), [(3, ".png"), (5, ".tiff")])
def test_deep_photos_are_drawn_deep_and_shown_all_the_same(
    bands: int, suffix: str, studio: TestClient, tmp_path: Path
) -> None:
    values = noise(40, 50, bands, bits=16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
    photo = added(studio, (tmp_path / "a.tif").read_bytes(), "deep scan.tif")
    made = studio.post("/api/orders", json={"kind": "vary", "photo": photo})
    order = ended(studio, made.json()["id"])
    assert order["made"] == [f"0000{suffix}"]
    assert order["shell"][0].endswith(" -o pictures")
    assert order["python"].endswith(f'\npicture.save("picture{suffix}")')
    address = f"/api/orders/{order['id']}/pictures/0000{suffix}"
    (tmp_path / f"o{suffix}").write_bytes(studio.get(address).content)
    drawn = read_photo(tmp_path / f"o{suffix}")
    assert (drawn.channels.bits, drawn.channels.count) == (16, bands)
    assert studio.get(f"{address}?as=preview").content.startswith(b"\x89PNG")
    assert studio.get(f"/api/photos/{photo}/preview").content.startswith(b"\x89PNG")


def test_browsers_get_the_whole_of_a_photo_that_they_cannot_decode(
    studio: TestClient, tmp_path: Path
) -> None:
    values = noise(4, 2500, 4, bits=16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[2])
    photo = added(studio, (tmp_path / "a.tif").read_bytes(), "a.tif")
    for _ in range(2):
        answer = studio.get(f"/api/photos/{photo}/full")
        (tmp_path / "full.png").write_bytes(answer.content)
        with Image.open(tmp_path / "full.png") as opened:
            assert (opened.format, opened.mode, opened.size) == ("PNG", "RGBA", (2500, 4))
            np.testing.assert_array_equal(np.asarray(opened), (values / 257).round())


@pytest.mark.parametrize(("used", "plain"), [(16, True), (12, False)])
def test_a_photo_of_few_bits_is_not_shown_by_its_file(
    used: int, plain: bool, tmp_path: Path
) -> None:
    save_png(tmp_path / "a.png", noise(8, 9, 1, bits=16) >> (16 - used))
    data = (tmp_path / "a.png").read_bytes()
    assert keep_photo(Shelf(tmp_path / "s"), data, "a.png").plain is plain


def test_what_fails_says_why_in_plain_words(studio: TestClient, photo_bytes: bytes) -> None:
    photo = added(studio, photo_bytes)
    made = studio.post("/api/orders", json={"kind": "extend", "photo": photo})
    order = ended(studio, made.json()["id"])
    assert order["state"] == "failed"
    assert order["error"].startswith("nothing to add; give one side")


def test_one_picture_of_an_order_is_deleted_and_had_back(tmp_path: Path) -> None:
    names = ["0000.png", "0001.png"]

    def kept_with(shelf: Shelf, key: str, state: State) -> None:
        order = Order(id=key, kind="vary", photo="a" * 16, made=names, count=3, state=state)
        shelf.pictures(order).mkdir(parents=True)
        for name in names:
            save_png(shelf.pictures(order) / name, np.zeros((3, 3, 1), np.uint8))
        shelf.keep(order)

    shelf, (part, all_of_it) = Shelf(tmp_path / "s"), ("b" * 16, "c" * 16)
    shelf.keep(
        PhotoCard(id="a" * 16, name="", suffix=".png", height=3, width=3, words="", deep=False)
    )
    kept_with(shelf, part, "stopped")
    kept_with(shelf, all_of_it, "stopped")
    with client_of(tmp_path / "s") as studio:

        def changed(key: str, verb: str, name: Any) -> list[str]:
            answer = studio.post(f"/api/orders/{key}/{verb}", json={"name": name})
            assert answer.status_code == 200, answer.text
            found: list[str] = answer.json()["dropped"]
            return found

        assert changed(part, "delete", names[0]) == names[:1]
        assert changed(part, "restore", names[0]) == []
        assert changed(part, "delete", names[1]) == names[1:]
        for name in (*names, REST):
            changed(all_of_it, "delete", name)
        assert studio.post(f"/api/orders/{part}/delete", json={"name": "x.png"}).status_code == 404
        assert len(studio.get("/api/state").json()["orders"]) == 2
    with client_of(tmp_path / "s") as studio:
        (order,) = studio.get("/api/state").json()["orders"]
        assert (order["id"], order["dropped"]) == (part, names[1:])
        assert sorted(path.name for path in (tmp_path / "s").rglob("000?.png")) == names[:1]


def test_an_order_without_its_layers_is_not_drawn_again(
    studio: TestClient, photo_bytes: bytes
) -> None:
    photo = added(studio, photo_bytes)
    facts = {"kind": "fill", "photo": photo, "layers": ["mask"]}
    key = studio.post("/api/orders", json=facts).json()["id"]
    answer = studio.post(f"/api/orders/{key}/again")
    assert (answer.status_code, "did not arrive" in answer.json()["error"]) == (409, True)
    studio.post(f"/api/orders/{key}/delete")


@pytest.mark.slow
def test_a_drawing_that_is_stopped_is_drawn_again(studio: TestClient, photo_bytes: bytes) -> None:
    photo = added(studio, photo_bytes)
    warm = studio.post("/api/orders", json={"kind": "vary", "photo": photo})
    ended(studio, warm.json()["id"])
    facts = {"kind": "vary", "photo": photo, "seed": 10_000, "settings": {"size": "300x400"}}
    key = studio.post("/api/orders", json=facts).json()["id"]
    while order_of(studio, key)["state"] == "waiting":
        time.sleep(0.01)
    time.sleep(0.5)  # so that it draws
    assert studio.post(f"/api/orders/{key}/cancel").json()["state"] == "stopped"
    other = studio.post("/api/orders", json={"kind": "vary", "photo": photo, "seed": 7})
    assert studio.post(f"/api/orders/{key}/again").json()["state"] == "waiting"
    assert ended(studio, other.json()["id"])["made"] == ["0007.png"]
    order = ended(studio, key)
    assert (order["state"], order["error"], order["made"]) == ("done", "", ["10000.png"])


def test_all_is_there_after_a_restart(tmp_path: Path, photo_bytes: bytes) -> None:
    with client_of(tmp_path / "s") as studio:
        photo = added(studio, photo_bytes)
        made = studio.post("/api/orders", json={"kind": "vary", "photo": photo, "count": 2})
        order = ended(studio, made.json()["id"])
        name = order["made"][1]
        studio.post(f"/api/orders/{order['id']}/favorite", json={"name": name})
        gone = studio.post("/api/orders", json={"kind": "vary", "photo": photo, "seed": 9})
        key = ended(studio, gone.json()["id"])["id"]
        studio.post(f"/api/orders/{key}/delete")
        assert len(studio.get("/api/state").json()["orders"]) == 1
        studio.post(f"/api/orders/{key}/restore")
        assert len(studio.get("/api/state").json()["orders"]) == 2
        studio.post(f"/api/orders/{key}/delete")
    with client_of(tmp_path / "s") as studio:
        state = studio.get("/api/state").json()
        assert [card["id"] for card in state["photos"]] == [photo]
        (again,) = state["orders"]
        assert (again["made"], again["favorites"]) == (order["made"], [name])
        assert studio.get(f"/api/orders/{again['id']}/pictures/{name}").status_code == 200


def test_a_model_can_be_drawn_from_after_a_restart(
    tmp_path: Path, tiny_runs: dict[str, Path], photo_file: Path
) -> None:
    shelf = Shelf(tmp_path / "s")
    card = keep_photo(shelf, photo_file.read_bytes(), "a.png")
    run = RunCard(id=new_id(), photo=card.id, state="done")
    shelf.keep(run)
    shutil.copytree(tiny_runs["consingan"], shelf.run_folder(run.id))
    with client_of(tmp_path / "s") as studio:
        (found,) = studio.get("/api/state").json()["runs"]
        progress = found["progress"]
        assert progress["model"]
        assert progress["drafts"]
        assert progress["share"] == pytest.approx(1)
        assert progress["level"] + 1 == progress["levels"]


@pytest.mark.parametrize(
    ("finish", "photo", "keeps"),
    [
        ({}, (44, 52), True),
        (None, (44, 52), False),
        ({}, (34, 40), False),
        ({}, (800, 1025), False),
    ],
    ids=["as it is", "a network alone", "no larger than the network", "to be reduced"],
)
def test_a_mask_goes_to_models_that_copy_from_the_photo_as_it_is(
    finish: Any, photo: tuple[int, int], keeps: bool, tmp_path: Path, tiny_runs: dict[str, Path]
) -> None:
    run = json.loads((tiny_runs["consingan"] / "run.json").read_text())
    run["recipe"]["finish"] = finish
    (tmp_path / "run.json").write_text(json.dumps(run))
    shutil.copy(tiny_runs["consingan"] / "log.jsonl", tmp_path)
    assert progress_of(tmp_path, photo)["keeps"] == keeps


def test_what_was_removed_by_hand_or_is_of_another_version_takes_nothing_else_away(
    tmp_path: Path, photo_bytes: bytes
) -> None:
    shelf = Shelf(tmp_path / "s")
    kept, gone = (keep_photo(shelf, photo_bytes, name) for name in ("kept.png", "gone.png"))
    for card in (kept, gone):
        for settings in ({}, {"glow": 3}):
            facts = {"kind": "vary", "settings": settings, "made": ["0000.png"], "state": "done"}
            shelf.keep(Order(id=new_id(), photo=card.id, created=now(), **facts))
        shelf.keep(Order(id=new_id(), kind="glow", photo=card.id, state="failed", created=now()))
        shelf.keep(RunCard(id=new_id(), photo=card.id, state="done"))
    shutil.rmtree(tmp_path / "s" / "photos" / gone.id)
    with client_of(tmp_path / "s") as studio:
        state = studio.get("/api/state").json()
        assert [card["name"] for card in state["photos"]] == ["kept.png"]
        assert [run["photo"] for run in state["runs"]] == [kept.id]
        assert {one["photo"] for one in state["orders"]} == {kept.id}
        lines = [(one["kind"], one["settings"], len(one["shell"])) for one in state["orders"]]
        assert lines == [("vary", {}, 1), ("vary", {"glow": 3}, 0), ("glow", {}, 0)]
        (bad,) = (one for one in state["orders"] if one["kind"] == "glow")
        assert studio.post(f"/api/orders/{bad['id']}/again").status_code == 200
        assert ended(studio, bad["id"])["error"].startswith("there is no 'glow'")
    assert len(list((tmp_path / "s" / "orders").iterdir())) == 6  # nothing is thrown away


FOREIGN = [
    ({"host": "evil.example:8321"}, 421),
    ({"host": "127.0.0.1:9"}, 421),
    ({"host": ""}, 421),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": f"http://{HOST}.evil.example"}, 403),
    ({"x-studio": "0"}, 403),
]


@pytest.mark.parametrize(("headers", "status"), FOREIGN)
def test_only_its_own_page_is_answered(
    studio: TestClient, headers: dict[str, str], status: int
) -> None:
    assert studio.post("/api/orders", json={}, headers=headers).status_code == status
    if "x-studio" not in headers:
        assert studio.get("/api/state", headers=headers).status_code == status


def test_another_machine_needs_the_token(tmp_path: Path) -> None:
    studio = client_of(tmp_path / "s", token="secret")
    assert studio.get("/").status_code == 401
    assert studio.get("/api/state").status_code == 401
    assert studio.get("/?token=wrong").status_code == 401
    assert studio.get("/?token=secret").status_code == 200
    assert studio.get("/api/state").status_code == 200  # by the cookie


def test_who_knows_the_token_may_come_by_any_name(tmp_path: Path) -> None:
    app = server.make_app(Shelf(tmp_path / "s"), hosts=None, token="secret")
    studio = TestClient(app, base_url="http://192.168.7.7:8321", headers=OURS)
    assert studio.get("/api/state").status_code == 401
    assert studio.get("/?token=secret").status_code == 200
    assert studio.get("/api/state").status_code == 200
    assert studio.get("/api/state", headers={"origin": "http://evil.example"}).status_code == 403


def test_a_browser_may_have_two_pages_of_one_machine_open(tmp_path: Path) -> None:
    """Cookies are shared by all ports of a host."""
    pages = []
    for port in (":8321", ":8322", ""):
        app = server.make_app(Shelf(tmp_path / f"s{port}"), hosts=None, token=f"secret{port}")
        pages.append(TestClient(app, base_url=f"http://studio.example{port}", headers=OURS))
        if port != ":8321":
            pages[-1].cookies = pages[-2].cookies
        assert pages[-1].get(f"/?token=secret{port}").status_code == 200
    for page in pages:
        page.cookies = pages[-1].cookies
        assert page.get("/api/state").status_code == 200


def test_nothing_from_elsewhere_is_loaded(studio: TestClient) -> None:
    answer = studio.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    for path in server.PAGE.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path


NOT_THERE = "0123456789abcdef"
BAD: list[tuple[str, str, Any, int]] = [
    ("POST", "/api/photos", b"", 400),
    ("POST", "/api/photos", b"not a picture", 400),
    ("POST", "/api/photos", b"\x89PNG\r\n\x1a\n" + bytes(50), 400),
    ("POST", "/api/photos", b"<svg xmlns='x'><script/></svg>", 400),
    ("POST", "/api/photos", b"%PDF-1.4", 400),
    ("POST", "/api/photos", b"GIF89a" + bytes(30), 400),
    ("POST", "/api/orders", b"{", 400),
    ("POST", "/api/orders", b"[" * 5000, 400),
    ("POST", "/api/orders", b"[]", 400),
    ("POST", "/api/orders", b"null", 400),
    ("POST", "/api/orders", {"kind": "vary"}, 404),
    ("POST", "/api/orders", {"kind": "vary", "photo": NOT_THERE}, 404),
    ("POST", "/api/orders", {"kind": "vary", "photo": "../../etc"}, 404),
    ("POST", "/api/orders", {"kind": "rm", "photo": "PHOTO"}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "count": 10**9}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "count": -1}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "seed": "7"}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "seed": 1e300}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "settings": []}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "settings": {"-o": "/x"}}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "layers": ["../x"]}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "layers": "mask"}, 400),
    ("POST", "/api/orders", {"kind": "vary", "photo": "PHOTO", "run": NOT_THERE}, 404),
    ("POST", "/api/orders", {"kind": "fill", "photo": "PHOTO"}, 400),
    ("POST", f"/api/orders/{NOT_THERE}/cancel", {}, 404),
    ("POST", f"/api/orders/{NOT_THERE}/layers/mask", b"x", 404),
    ("POST", "/api/orders/..%2F..%2Fphotos/delete", {}, 404),
    ("POST", "/api/runs", {"photo": "PHOTO", "settings": {"preset": "/etc/passwd"}}, 400),
    ("POST", "/api/runs", {"photo": "PHOTO", "settings": {"source": "x"}}, 400),
    ("POST", "/api/runs", {"photo": NOT_THERE}, 404),
    ("POST", f"/api/runs/{NOT_THERE}/continue", {}, 404),
    ("GET", f"/api/photos/{NOT_THERE}/file", None, 404),
    ("GET", "/api/photos/PHOTO/card.json", None, 404),
    ("GET", "/api/photos/..%2f..%2fetc/file", None, 404),
    ("GET", f"/api/orders/{NOT_THERE}/pictures/0000.png", None, 404),
    ("GET", f"/api/runs/{NOT_THERE}/drafts/level-0.png", None, 404),
    ("GET", "/page/../server.py", None, 404),
    ("GET", "/page/%2e%2e/server.py", None, 404),
    ("GET", "/api/nothing", None, 404),
    ("DELETE", "/api/photos", None, 405),
]


@pytest.mark.parametrize("index", range(len(BAD)))
def test_bad_requests_are_answered_in_a_line_and_change_nothing(
    index: int, studio: TestClient, photo_bytes: bytes
) -> None:
    photos = studio.get("/api/state").json()["photos"]
    photo = photos[0]["id"] if photos else added(studio, photo_bytes)
    before = studio.get("/api/state").json()
    method, path, body, status = BAD[index]
    data = body if isinstance(body, bytes) else json.dumps(body).replace("PHOTO", photo).encode()
    answer = studio.request(method, path.replace("PHOTO", photo), content=data)
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text
    assert answer.text.count("\n") == 0
    assert studio.get("/api/state").json() == before


def test_a_body_over_the_limit_is_cut_off(
    studio: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "UPLOAD_LIMIT", 1_000_000)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 50_000_000:
            sent += 100_000
            yield bytes(100_000)

    answer = studio.post("/api/photos", content=endless())
    assert answer.status_code == 413
    assert "over 1,000 kB" in answer.json()["error"]
    assert studio.get("/api/state").status_code == 200


def test_a_slow_upload_is_given_up(studio: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UPLOAD_SECONDS", 0.0)
    assert studio.post("/api/photos", content=b"x" * 10).status_code in (400, 408)
    assert studio.get("/api/state").status_code == 200


def test_a_name_is_for_people_alone(studio: TestClient, photo_bytes: bytes) -> None:
    for name in ("../../x.png", "C%3A%5Cx.exe", "%00.png", "a" * 3000 + ".png"):
        answer = studio.post("/api/photos", content=photo_bytes, headers={"x-name": name})
        assert answer.status_code == 200
        card = answer.json()
        assert "/" not in card["name"]
        assert len(card["name"]) <= 200
        assert studio.get(f"/api/photos/{card['id']}/file").content == photo_bytes


def test_browsers_are_told_what_a_file_of_the_page_is(studio: TestClient) -> None:
    """They run no script that is called text, as some programs on Windows have it."""
    types = {"main.js": "text/javascript", "studio.css": "text/css", "icon.svg": "image/svg+xml"}
    for name, kind in types.items():
        headers = studio.get(f"/page/{name}").headers
        assert headers["content-type"].startswith(kind)
        assert headers["cache-control"] == "no-cache"  # it may be of a new version
