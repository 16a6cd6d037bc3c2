"""The page in a real browser, as an artist uses it; with Debian's package chromium."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoded import save_png
from scenes import scene
from singleimage import Channels, Photo

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser; apt-get install chromium"),
]
PORT = 8466 + 10 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])


class Served:
    """A studio in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begin()

    def begin(self) -> None:
        line = [sys.executable, "-m", "singleimage", "studio", "-o", str(self.folder)]
        line += ["--port", str(PORT), "--no-browser"]
        said = self.folder.with_name("said.txt")
        with said.open("wb") as stream:
            self.process = subprocess.Popen(line, stderr=stream)
        while b"http://" not in said.read_bytes():
            assert self.process.poll() is None, said.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    studio = Served(tmp_path_factory.mktemp("studio") / "s")
    yield studio
    studio.process.terminate()
    studio.process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        yield launched
        launched.close()


class Visit:
    """A page, what it asked of other hosts, and what went wrong in it."""

    def __init__(self, browser: Any, **how: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 860}, **how)
        self.page = self.context.new_page()
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.context.route("**/*", self._watch)
        self.page.goto(f"http://127.0.0.1:{PORT}/")

    def _watch(self, route: Any) -> None:
        url = route.request.url
        if url.startswith((f"http://127.0.0.1:{PORT}/", "blob:", "data:")):
            route.continue_()
        else:
            self.elsewhere.append(url)
            route.abort()

    def results(self) -> Any:
        return self.page.locator("#results .tile img")

    def draws(self, more: int) -> None:
        """Press the button, and wait for so many pictures more."""
        before = self.results().count()
        self.page.click("#run")
        playwright.expect(self.results()).to_have_count(before + more, timeout=60_000)

    def mask(self) -> np.ndarray:
        """The mask that is seen, (H, W) of 0 and 255."""
        script = "() => [studio.stage.height, studio.stage.width, ...studio.stage.mask]"
        height, width, *values = self.page.evaluate(script)
        return np.array(values, np.uint8).reshape(height, width)

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draw with the mouse; points are in shares of the photo."""
        first, *others = map(self.place, points)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for point in others:
            self.page.mouse.move(*point, steps=4)
        self.page.mouse.up()

    def place(self, share: tuple[float, float]) -> tuple[float, float]:
        script = (
            "() => { const s = studio.stage, b = s.canvas.getBoundingClientRect();"
            " return [b.left + s.view.x, b.top + s.view.y, s.width * s.view.scale,"
            " s.height * s.view.scale]; }"
        )
        self.page.wait_for_selector("#photos [aria-current=true]")
        left, top, width, height = self.page.evaluate(script)
        return left + share[0] * width, top + share[1] * height

    def close(self) -> None:
        assert not self.errors
        assert not self.elsewhere
        self.context.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("in") / "meadow.png"
    Photo(scene(64, 80), Channels(mode="RGB")).save(path)
    return path


@pytest.fixture
def visit(browser: Any, served: Served, photo: Path) -> Iterator[Visit]:
    """A page with a photo and results."""
    visit = Visit(browser)
    state = visit.page.request.get(f"http://127.0.0.1:{PORT}/api/state").json()
    if not state["orders"]:
        opened(visit, photo)
        visit.draws(4)
    visit.page.wait_for_selector("#results .tile img")
    visit.page.wait_for_function("() => studio.stage.photo")
    yield visit
    visit.close()


def dropped(visit: Visit, path: Path) -> None:
    """Drop a file on the page."""
    data = visit.page.evaluate_handle(
        "([bytes, name]) => { const d = new DataTransfer();"
        " d.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'})); return d; }",
        [list(path.read_bytes()), path.name],
    )
    visit.page.dispatch_event("#stage", "drop", {"dataTransfer": data})


def opened(visit: Visit, path: Path) -> None:
    """Drop a photo on the page, and wait until it is shown."""
    before = visit.page.evaluate("() => studio.page.photos.size")
    dropped(visit, path)
    visit.page.wait_for_function(
        "before => studio.page.photos.size > before"
        " && studio.stage.photo?.card.id === [...studio.page.photos.keys()].at(-1)",
        arg=before,
    )


def refused(visit: Visit) -> list[Any]:
    """The orders that the page sends, of which none is taken from now on."""
    sent: list[Any] = []

    def refuse(route: Any) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(status=400, json={"error": "seen"})

    visit.page.route("**/api/orders", refuse)
    return sent


def test_drop_a_photo_vary_it_and_download_what_the_command_line_makes(
    visit: Visit, photo: Path, tmp_path: Path
) -> None:
    before = visit.page.locator("#photos button").count()
    opened(visit, photo)
    assert visit.page.locator("#photos button").count() == before + 1
    visit.draws(4)
    visit.results().first.click()
    shell = visit.page.locator("#viewer details").first
    shell.locator("summary").click()
    line = shell.locator("pre").inner_text()
    with visit.page.expect_download() as waiting:
        visit.page.click("#viewer a[download]")
    waiting.value.save_as(tmp_path / "got.png")
    words = line.replace("singleimage", f"{sys.executable} -m singleimage", 1)
    subprocess.run(words.split(), check=True, capture_output=True, cwd=tmp_path)
    (made,) = (tmp_path / "pictures").glob("*.png")
    assert made.read_bytes() == (tmp_path / "got.png").read_bytes()


def test_the_photo_that_was_chosen_last_is_shown_and_drawn(visit: Visit, tmp_path: Path) -> None:
    """However long another one takes that was chosen before it."""
    page, held = visit.page, list[Any]()
    for name, size in (("slow.png", (40, 50)), ("quick.png", (64, 80))):
        Photo(scene(*size), Channels(mode="RGB")).save(tmp_path / name)
        opened(visit, tmp_path / name)
    ids = page.evaluate("() => [...studio.page.photos.values()].slice(-2).map(c => c.id)")
    page.route(f"**/api/photos/{ids[0]}/file", lambda route: held.append(route))
    page.click("#photos [title^=slow]")
    page.click("#run")
    assert "being read" in page.locator("#trouble").inner_text()
    page.click("#photos [title^=quick]")
    page.wait_for_function("() => studio.stage.photo?.card.name === 'quick.png'")
    with page.expect_response(f"**/api/photos/{ids[0]}/file"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert page.evaluate("() => [studio.page.photo, studio.stage.photo.card.id]") == [ids[1]] * 2
    visit.draws(4)
    last = page.evaluate("() => [...studio.page.orders.values()].at(-1).photo")
    assert last == ids[1]


def test_a_control_shows_only_where_it_matters(visit: Visit) -> None:
    """Pictures that repeat both ways forget all places, so that there is no variety to set."""
    page = visit.page
    page.click("[data-kind=tile]")
    assert page.locator("#field-variety").count() == 0
    page.focus("#field-tile")
    page.select_option("#field-tile", "x")
    assert page.locator("#field-variety").input_value() == "0.35"
    assert page.evaluate("() => document.activeElement.id") == "field-tile"
    page.select_option("#field-tile", "xy")
    assert page.locator("#field-variety").count() == 0
    visit.draws(4)
    orders = page.request.get(f"http://127.0.0.1:{PORT}/api/state").json()["orders"]
    (order,) = (one for one in orders if one["kind"] == "tile")
    assert order["settings"] == {"tile": "xy"}


def test_a_model_draws_where_it_is_chosen_while_it_is_there(visit: Visit) -> None:
    page, sent = visit.page, refused(visit)
    state = page.request.get(f"http://127.0.0.1:{PORT}/api/state").json()
    run = {"id": "a" * 16, "photo": state["photos"][-1]["id"], "settings": {"preset": "preview"}}
    run |= {"state": "done", "progress": {"model": True}, "hidden": False}
    page.route("**/api/state", lambda route: route.fulfill(json={**state, "runs": [run]}))
    page.reload()
    page.wait_for_function("() => studio.stage.photo")

    def drawn_from() -> Any:
        page.click("#run")
        playwright.expect(page.locator("#trouble")).to_have_text("seen")
        return sent.pop()["run"]

    page.click("[data-kind=animate]")
    assert drawn_from() == run["id"]
    page.click("[data-kind=vary]")  # which has a choice of its own
    assert drawn_from() is None
    page.select_option("#field-source", run["id"])
    assert drawn_from() == run["id"]
    visit.stroke((0.3, 0.3), (0.6, 0.3))
    page.click("#run")
    assert "cannot keep a part" in page.locator("#trouble").inner_text()
    assert not sent
    page.evaluate("(id) => { studio.page.runs.get(id).progress.keeps = true; }", run["id"])
    assert drawn_from() == run["id"]
    page.click("[data-kind=tile]")
    assert drawn_from() == run["id"]
    page.evaluate("id => { studio.page.runs.get(id).hidden = true; }", run["id"])  # deleted
    page.click("[data-kind=extend]")
    assert drawn_from() is None


def test_paint_erase_undo_and_fill_by_mouse(visit: Visit, served: Served) -> None:
    visit.page.click("[data-kind=fill]")
    visit.stroke((0.3, 0.3), (0.6, 0.3))
    painted = visit.mask()
    assert 100 < (painted > 0).sum() < painted.size / 3
    visit.page.keyboard.press("x")
    visit.stroke((0.45, 0.2), (0.45, 0.4))
    erased = visit.mask()
    assert 0 < (erased > 0).sum() < (painted > 0).sum()
    visit.page.keyboard.press("z")
    np.testing.assert_array_equal(visit.mask(), painted)
    visit.page.keyboard.press("Shift+z")
    np.testing.assert_array_equal(visit.mask(), erased)
    visit.page.keyboard.press("x")
    visit.page.click("[aria-label=Rectangle]")
    visit.stroke((0.7, 0.7), (0.8, 0.85))
    visit.page.click("[aria-label=Lasso]")
    visit.stroke((0.1, 0.7), (0.2, 0.7), (0.15, 0.8))
    seen = visit.mask()
    assert (seen > 0).sum() > (erased > 0).sum() + 80
    visit.draws(2)
    (sent,) = served.folder.glob("orders/*/mask.png")
    with Image.open(sent) as opened:
        np.testing.assert_array_equal(np.asarray(opened.convert("L")), seen)


def test_the_eraser_of_a_pen_erases(visit: Visit) -> None:
    visit.page.click("[data-kind=fill]")
    visit.page.click("[aria-label='Mark all']")
    x, y = visit.place((0.5, 0.5))
    script = """([x, y]) => {
        for (const [kind, button, buttons] of [["pointerdown", 5, 32], ["pointerup", 5, 0]])
            studio.stage.canvas.dispatchEvent(new PointerEvent(kind, {
                pointerId: 9, pointerType: "pen", pressure: 0.5, button, buttons,
                clientX: x, clientY: y }));
    }"""
    visit.page.evaluate(script, [x, y])
    mask = visit.mask()
    assert mask[mask.shape[0] // 2, mask.shape[1] // 2] == 0
    assert (mask == 0).mean() < 0.5


def pointers(visit: Visit, *events: tuple[str, str, float]) -> None:
    """Dispatch events of pointers: which, of a pen or a touch, and where across the middle."""
    script = """([name, kind, x, y]) => studio.stage.canvas.dispatchEvent(new PointerEvent(
        `pointer${name}`, { pointerId: kind === "pen" ? 8 : 9, pointerType: kind, pressure: 0.5,
            button: 0, buttons: 1, clientX: x, clientY: y, bubbles: true }))"""
    for name, kind, share in events:
        visit.page.evaluate(script, [name, kind, *visit.place((share, 0.5))])


def test_a_hand_beside_the_pen_draws_and_moves_nothing(visit: Visit) -> None:
    visit.page.click("[data-kind=fill]")
    view = "() => studio.stage.view"
    before = visit.page.evaluate(view)
    pointers(visit, ("down", "pen", 0.2), ("move", "pen", 0.3))
    pointers(visit, ("down", "touch", 0.8), ("move", "touch", 0.9), ("move", "pen", 0.4))
    pointers(visit, ("cancel", "touch", 0.9), ("up", "pen", 0.4))
    drawn = visit.mask()
    assert drawn[drawn.shape[0] // 2, [17, 24, 30]].all()
    assert not drawn[:, 56:].any()
    # The hand first: what it began is nothing.
    pointers(visit, ("down", "touch", 0.8), ("move", "touch", 0.9), ("down", "pen", 0.5))
    pointers(visit, ("move", "pen", 0.6), ("up", "touch", 0.9), ("up", "pen", 0.6))
    both = visit.mask()
    assert both[both.shape[0] // 2, [41, 46]].all()
    assert not both[:, 64:].any()
    assert visit.page.evaluate("() => studio.stage.done.length") == 2
    assert visit.page.evaluate(view) == before


@pytest.mark.parametrize("shape", ["Brush", "Rectangle"])
def test_what_the_system_takes_away_is_not_drawn(shape: str, visit: Visit) -> None:
    visit.page.click("[data-kind=fill]")
    visit.page.click(f"[aria-label={shape}]")
    pointers(visit, ("down", "touch", 0.3), ("move", "touch", 0.5), ("cancel", "touch", -3))
    assert not visit.mask().any()
    assert visit.page.evaluate("() => [studio.stage.done.length, studio.stage.held]") == [0, None]


def test_what_was_drawn_on_a_photo_stays_while_others_are_looked_at(
    visit: Visit, tmp_path: Path
) -> None:
    page = visit.page
    for name, size in (("one.png", (40, 50)), ("other.png", (64, 80))):
        Photo(scene(*size), Channels(mode="RGB")).save(tmp_path / name)
        opened(visit, tmp_path / name)
    page.click("[data-kind=fill]")
    visit.stroke((0.3, 0.3), (0.6, 0.3))
    page.click("[data-kind=paint]")
    visit.stroke((0.3, 0.6), (0.6, 0.6))
    drawn = visit.mask()
    assert drawn.any()
    page.click("#photos [title^=other]")  # it is shown already
    leave = "() => !window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert page.evaluate(leave)
    for name in ("one", "other"):
        page.click(f"#photos [title^={name}]")
        page.wait_for_function(f"() => studio.stage.photo?.card.name === '{name}.png'")
        assert page.evaluate("() => studio.stage.painted") == (name == "other")
    np.testing.assert_array_equal(visit.mask(), drawn)
    page.keyboard.press("z")
    assert not page.evaluate("() => studio.stage.painted")
    page.keyboard.press("z")
    assert not visit.mask().any()
    assert not page.evaluate(leave)


def test_the_buttons_of_a_training_stay_while_it_goes_on(visit: Visit) -> None:
    page = visit.page
    run = {"id": "d" * 16, "photo": page.evaluate("() => studio.page.photo"), "hidden": False}
    run |= {"settings": {}, "state": "running", "error": ""}
    page.route("**/api/runs/*/drafts/*", lambda route: route.fulfill(status=204))

    def told(state: str, **progress: Any) -> None:
        now = {**run, "state": state, "progress": {"levels": 3, "level": 1, **progress}}
        page.evaluate("(run) => studio.heard({ type: 'run', run })", now)

    page.click("[data-kind=train]")
    told("running", share=0.25, drafts=["level-00.png"])
    page.focus(".run >> text=Pause")
    told("running", share=0.5, drafts=["level-00.png", "level-01.png"])
    assert page.evaluate("() => document.activeElement.textContent") == "Pause"
    assert page.locator(".run progress").evaluate("(bar) => bar.value") == 0.5
    drafts = page.locator(".run .drafts img").evaluate_all("(all) => all.map((i) => i.alt)")
    assert drafts == ["level-01", "level-00"]
    told("done", model=True)
    assert page.locator(".run button").all_inner_texts() == ["Draw with it", "Delete"]
    assert page.locator(".run progress").is_hidden()
    page.evaluate("(id) => { studio.page.runs.delete(id); }", run["id"])


def test_pictures_of_the_page_are_not_dragged(visit: Visit) -> None:
    """Some browsers drop them on the page as files, which would be a new photo."""
    script = """(image) => !image.dispatchEvent(new DragEvent("dragstart",
        { bubbles: true, cancelable: true }))"""
    assert visit.page.locator("#photos img").first.evaluate(script)
    visit.results().first.click()
    assert visit.page.locator("#viewer .after").evaluate(script)


def test_arrows_go_through_the_results(visit: Visit) -> None:
    page = visit.page
    visit.results().first.click()
    seen = [page.locator("#viewer .after").get_attribute("alt")]
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        seen.append(page.locator("#viewer .after").get_attribute("alt"))
    assert len(set(seen)) == 3
    page.keyboard.press("ArrowLeft")
    assert page.locator("#viewer .after").get_attribute("alt") == seen[1]


def test_the_page_says_so_when_the_studio_is_gone(visit: Visit, served: Served) -> None:
    queue = visit.page.locator("#queue")
    served.kill()
    playwright.expect(queue).to_contain_text("does not answer", timeout=20_000)
    served.begin()
    playwright.expect(queue).to_be_empty(timeout=20_000)


def test_draw_with_fingers_and_pinch(browser: Any, served: Served) -> None:
    visit = Visit(browser, has_touch=True)
    visit.page.click("[data-kind=fill]")
    playwright.expect(visit.page.locator("#drawing")).to_be_visible()
    fingers = visit.context.new_cdp_session(visit.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        found = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": found})

    touch("touchStart", visit.place((0.3, 0.5)))
    for step in range(1, 9):
        touch("touchMove", visit.place((0.3 + step * 0.04, 0.5)))
    touch("touchEnd")
    drawn = visit.mask()
    assert (drawn > 0).sum() > 100
    scale = visit.page.evaluate("() => studio.stage.view.scale")
    one, other = visit.place((0.4, 0.5)), visit.place((0.6, 0.5))
    touch("touchStart", one, other)
    touch("touchMove", (one[0] - 80, one[1]), (other[0] + 80, other[1]))
    touch("touchEnd")
    assert visit.page.evaluate("() => studio.stage.view.scale") > 1.3 * scale
    np.testing.assert_array_equal(visit.mask(), drawn)  # two fingers draw nothing
    visit.close()


def test_paste_move_scale_and_harmonize(visit: Visit, tmp_path: Path) -> None:
    visit.page.click("[data-kind=harmonize]")
    cut = np.zeros((40, 40, 4), np.uint8)
    cut[5:35, 5:35] = 220, 40, 60, 255
    dropped(visit, save_png(tmp_path / "cut.png", cut))
    visit.page.wait_for_function("() => studio.stage.pasted")
    before = visit.page.evaluate("() => ({...studio.stage.pasted, bitmap: 0})")
    visit.stroke((0.5, 0.5), (0.6, 0.6))
    moved = visit.page.evaluate("() => ({...studio.stage.pasted, bitmap: 0})")
    assert moved["x"] > before["x"] + 5
    corner = visit.page.evaluate("() => studio.stage.corner")
    size = visit.page.evaluate("() => [studio.stage.width, studio.stage.height]")
    share = corner["x"] / size[0], corner["y"] / size[1]
    visit.stroke(share, (share[0] + 0.1, share[1] + 0.1))
    assert visit.page.evaluate("() => studio.stage.pasted.scale") > 1.1 * moved["scale"]
    visit.draws(2)


def test_what_was_pasted_and_left_behind_can_be_undone(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    cut = save_png(tmp_path / "cut.png", np.full((40, 40, 4), 255, np.uint8))
    page.click("[data-kind=harmonize]")
    dropped(visit, cut)
    page.wait_for_function("() => studio.stage.pasted")
    visit.stroke((0.5, 0.5), (0.6, 0.6))
    moved = page.evaluate("() => ({...studio.stage.pasted, bitmap: 0})")
    page.click("[data-kind=paint]")
    assert page.evaluate("() => studio.stage.pasted") is None
    found = []
    for key in ("z", "z", "z", "Shift+z", "Shift+z", "Shift+z", "z"):
        page.keyboard.press(key)
        found.append(page.evaluate("() => studio.stage.pasted && studio.stage.pasted.x"))
    left, x = None, moved["x"]
    assert found == [x, found[1], left, found[1], x, left, x]
    assert found[1] < x
    # What is not seen is not drawn.
    script = """async () => {
        const blob = await studio.stage.compositeBlob();
        return [...new Uint8Array(await blob.arrayBuffer())];
    }"""
    plain = page.evaluate(script)
    page.keyboard.press("Shift+z")
    assert page.evaluate(script) == plain
    visit.stroke((0.2, 0.2), (0.4, 0.2))
    assert page.evaluate(script) != plain
    page.click("[data-kind=harmonize]")
    assert page.evaluate(script) == plain
    page.keyboard.press("z")
    page.keyboard.press("z")
    assert page.evaluate("() => studio.stage.pasted.x") == x
    page.wait_for_timeout(100)  # frames, which throw where they cannot be drawn


def test_undo_waits_until_a_drag_has_ended(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.click("[data-kind=harmonize]")
    dropped(visit, save_png(tmp_path / "cut.png", np.full((40, 40, 4), 255, np.uint8)))
    page.wait_for_function("() => studio.stage.pasted")
    where = "() => studio.stage.pasted && studio.stage.pasted.x"
    first, steps = page.evaluate(where), page.evaluate("() => studio.stage.done.length")
    visit.stroke((0.5, 0.5))  # a click moves nothing
    assert page.evaluate("() => studio.stage.done.length") == steps
    page.mouse.move(*visit.place((0.5, 0.5)))
    page.mouse.down()
    page.mouse.move(*visit.place((0.6, 0.6)))
    page.keyboard.press("z")
    page.mouse.move(*visit.place((0.7, 0.7)))
    page.mouse.up()
    assert page.evaluate(where) > first + 10
    page.keyboard.press("z")
    assert page.evaluate(where) == first
    page.keyboard.press("z")
    assert page.evaluate(where) is None


def test_paint_that_was_taken_away_is_no_paint(visit: Visit) -> None:
    visit.page.click("[data-kind=paint]")
    for away in ("[title^=Undo]", "[title=Clear]"):
        visit.stroke((0.2, 0.2), (0.8, 0.3))
        assert visit.page.evaluate("() => studio.stage.painted")
        visit.page.click(away)
        visit.page.click("#run")
        playwright.expect(visit.page.locator("#trouble")).to_have_text("Paint something first.")


def test_a_photo_is_not_restyled_by_itself(visit: Visit, photo: Path) -> None:
    page = visit.page
    for _ in range(2):
        opened(visit, photo)
    first, last = page.evaluate("() => [...studio.page.photos.keys()].slice(-2)")
    page.click("[data-kind=restyle]")
    page.select_option("#field-other", first)
    page.locator("#photos button").nth(1).click()
    page.wait_for_function("id => studio.stage.photo?.card.id === id", arg=first)
    page.click("#run")
    playwright.expect(page.locator("#trouble")).to_have_text("Choose the other photo.")
    page.select_option("#field-other", last)
    page.route(f"**/api/photos/{last}/file", lambda route: route.abort())
    page.click("#run")
    playwright.expect(page.locator("#trouble")).to_contain_text("does not answer")
    sent = refused(visit)
    page.check("#live-switch")
    page.wait_for_function("() => document.querySelector('#trouble').textContent")
    page.unroute(f"**/api/photos/{last}/file")
    with page.expect_response("**/api/orders"):
        page.click("text=New")  # it goes on when the studio answers again
    assert sent[0]["layers"] == ["picture"]


def test_lift_a_part_and_mend(visit: Visit) -> None:
    visit.page.click("[data-kind=edit]")
    visit.page.click("#run")
    assert "lift it" in visit.page.locator("#trouble").inner_text()
    visit.stroke((0.2, 0.7), (0.35, 0.8))
    visit.page.click("[aria-label='Lift what is marked']")
    visit.stroke((0.27, 0.75), (0.7, 0.4))
    visit.draws(2)


def test_tile_extend_paint_and_enlarge(visit: Visit) -> None:
    visit.page.click("[data-kind=tile]")
    visit.draws(4)
    visit.page.click("[data-kind=extend]")
    visit.draws(2)
    visit.page.click("[data-kind=paint]")
    visit.stroke((0.2, 0.2), (0.8, 0.3))
    visit.draws(2)
    visit.page.click("[data-kind=upscale]")
    visit.draws(1)
    visit.results().first.click()
    assert visit.page.locator("#viewer").is_visible()
    visit.page.keyboard.press("Escape")


def test_results_of_one_photo_and_favorites_alone(visit: Visit, tmp_path: Path) -> None:
    visit.page.wait_for_selector("#results .tile img")
    before, photos = visit.results().count(), visit.page.locator("#photos button").count()
    Photo(scene(60, 60), Channels(mode="RGB")).save(tmp_path / "other.png")
    visit.page.click("[data-kind=vary]")
    dropped(visit, tmp_path / "other.png")
    playwright.expect(visit.page.locator("#photos button")).to_have_count(photos + 1)
    visit.page.click("#mine")
    playwright.expect(visit.results()).to_have_count(0)
    visit.page.click("#mine")
    visit.results().first.click()
    visit.page.click("#viewer [data-act=favorite]")
    playwright.expect(visit.page.locator("#viewer [data-act=favorite]")).to_contain_text("★")
    visit.page.keyboard.press("Escape")
    visit.page.click("#only")
    playwright.expect(visit.results()).to_have_count(1)
    visit.page.click("#only")
    playwright.expect(visit.results()).to_have_count(before)
    visit.page.locator("#photos button").last.click()  # the first photo again


def test_it_draws_as_things_change(visit: Visit, photo: Path) -> None:
    dropped(visit, photo)
    visit.page.wait_for_selector("#photos [aria-current=true]")
    visit.page.click("[data-kind=fill]")
    playwright.expect(visit.page.locator("#time")).to_contain_text("About a second")
    visit.page.check("#live-switch")
    seen = visit.page.locator("#live img")
    playwright.expect(seen).to_be_hidden()  # nothing is marked
    sources = set()
    for x in (0.2, 0.5, 0.8):
        visit.stroke((x, 0.4), (x, 0.6))
        visit.page.wait_for_function(
            "old => { const i = document.querySelector('#live img');"
            " return i.src && !old.includes(i.src) && i.naturalWidth; }",
            arg=list(sources),
            timeout=20_000,
        )
        sources.add(seen.get_attribute("src"))
        visit.page.wait_for_function("() => !document.querySelector('#live.busy')")
        sources |= {visit.page.evaluate("() => document.querySelector('#live img').src")}
    last = seen.get_attribute("src").split("/")[3]
    left = "() => [...studio.page.orders.values()].filter(o => !o.hidden).map(o => o.id)"
    assert last in visit.page.evaluate(left)
    gone = {source.split("/api/orders/")[1][:16] for source in sources} - {last}
    assert gone
    visit.page.wait_for_function(
        f"gone => !({left})().some(id => gone.includes(id))", arg=list(gone), timeout=5_000
    )
    visit.page.uncheck("#live-switch")
    playwright.expect(seen).to_be_hidden()


def test_it_draws_when_a_pasted_picture_was_moved(visit: Visit, tmp_path: Path) -> None:
    page, sent = visit.page, refused(visit)
    page.click("[data-kind=harmonize]")
    dropped(visit, save_png(tmp_path / "cut.png", np.full((40, 40, 4), 255, np.uint8)))
    page.wait_for_function("() => studio.stage.pasted")
    with page.expect_response("**/api/orders"):
        page.check("#live-switch")
    with page.expect_response("**/api/orders"):
        visit.stroke((0.5, 0.5), (0.6, 0.6))
    assert len(sent) == 2


def test_what_was_begun_with_another_tool_is_not_shown_beside_this_one(visit: Visit) -> None:
    page = visit.page
    page.fill("#field-size", "300x400")
    page.check("#live-switch")
    page.wait_for_selector("#live.busy", state="attached")
    page.click("[data-kind=extend]")
    page.wait_for_selector("#live:not(.busy)", state="attached", timeout=60_000)
    last = "() => [...studio.page.orders.values()].at(-1)"
    order = page.evaluate(last)
    assert (order["kind"], order["state"]) == ("vary", "done")
    assert page.locator("#live").is_hidden()


def test_what_happens_while_all_is_asked_for_is_not_forgotten(visit: Visit) -> None:
    page, held = visit.page, list[Any]()
    state = page.request.get(f"http://127.0.0.1:{PORT}/api/state").json()
    last = state["orders"][-1]
    old = {**last, "state": "running", "made": [], "favorites": []}
    old_state = {**state, "orders": [*state["orders"][:-1], old]}
    page.route("**/api/state", lambda route: held.append(route))
    with page.expect_request("**/api/state"):
        page.reload()
    for _ in range(2):
        page.request.post(
            f"http://127.0.0.1:{PORT}/api/orders/{last['id']}/favorite",
            headers={"x-studio": "1"},
            data={"name": last["made"][0]},
        )
    page.wait_for_timeout(300)
    held[0].fulfill(json=old_state)
    page.wait_for_function("() => studio.stage.photo")
    assert page.locator("#results .busy").count() == 0
    page.unroute("**/api/state")


@pytest.mark.parametrize("left", [1, 0])
def test_a_page_goes_on_where_the_studio_is_of_another_folder(
    left: int, visit: Visit, served: Served, photo: Path
) -> None:
    page = visit.page
    opened(visit, photo)
    state = page.request.get(f"http://127.0.0.1:{PORT}/api/state").json()
    photos = state["photos"][:left]
    orders = [order for order in state["orders"] if order["photo"] in {p["id"] for p in photos}]
    other = {**state, "photos": photos, "orders": orders, "opened": None}
    page.route("**/api/state", lambda route: route.fulfill(json=other))
    served.kill()
    served.begin()
    page.wait_for_function("many => studio.page.photos.size === many", arg=left, timeout=20_000)
    expected = photos[0]["id"] if photos else None
    page.wait_for_function("id => studio.page.photo === id", arg=expected)
    page.wait_for_function("id => (studio.stage.photo?.card.id ?? null) === id", arg=expected)
    page.click("[data-kind=extend]")
    page.unroute("**/api/state")


def test_results_of_another_version_are_shown_by_their_names(visit: Visit, served: Served) -> None:
    state = visit.page.request.get(f"http://127.0.0.1:{PORT}/api/state").json()
    (first, *_) = state["orders"]
    told = {**first, "kind": "glow", "shell": [], "python": ""}
    visit.page.route("**/api/state", lambda route: route.fulfill(json={**state, "orders": [told]}))
    visit.page.reload()
    visit.page.locator("#results .tile", has_text="glow").first.click()
    assert visit.page.locator("#viewer dl").inner_text().count("glow") == 1
    visit.page.keyboard.press("Escape")


def test_a_photo_that_browsers_cannot_decode_is_worked_on_as_it_is(
    visit: Visit, photo: Path, tmp_path: Path
) -> None:
    with Image.open(photo) as picture:
        picture.resize((2500, 40)).save(tmp_path / "wide.tiff")
    opened(visit, tmp_path / "wide.tiff")
    assert visit.page.evaluate("() => studio.stage.photo.bitmap.width") == 2500
    opened(visit, photo)  # for the tests after this one


def test_what_is_copied_is_in_the_clipboard_or_selected(visit: Visit) -> None:
    page, said = visit.page, visit.page.locator("#toast")
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.results().first.click()
    page.click("#viewer [data-act=copy]")
    playwright.expect(said).to_contain_text("picture is copied")
    kinds = "async () => (await navigator.clipboard.read()).flatMap((item) => item.types)"
    assert page.evaluate(kinds) == ["image/png"]
    page.click("#viewer details summary")
    page.click("#viewer [data-act=shell]")
    playwright.expect(said).to_contain_text("command is copied")
    line = page.locator("#viewer pre").first.inner_text()
    assert page.evaluate("() => navigator.clipboard.readText()") == line
    at_once = """() => {
        let asked = false;
        navigator.clipboard.write = async () => { asked = true; };
        document.querySelector("#viewer [data-act=copy]").click();
        return asked;
    }"""
    assert page.evaluate(at_once)
    # As it is over http from another machine.
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.click("#viewer [data-act=shell]")
    playwright.expect(said).to_contain_text("command is selected")
    assert page.evaluate("() => getSelection().toString()").strip() == line
    assert said.evaluate("(toast) => toast.matches(':popover-open')")  # over the dialog
    page.click("#viewer [data-act=copy]")
    playwright.expect(said).to_contain_text("download it")
    page.keyboard.press("Escape")


def test_delete_one_picture_and_have_it_back(visit: Visit) -> None:
    visit.page.wait_for_selector("#results .tile img")
    before = visit.results().count()
    visit.results().first.click()
    visit.page.click("#viewer [data-act=remove]")
    playwright.expect(visit.results()).to_have_count(before - 1)
    visit.page.click("#toast button")
    playwright.expect(visit.results()).to_have_count(before)


def test_the_keyboard_alone_is_enough(visit: Visit) -> None:
    visit.page.wait_for_selector("#results .tile img")
    before = visit.results().count()
    visit.page.focus("#rail [aria-selected=true]")
    for _ in range(3):
        visit.page.keyboard.press("ArrowDown")
    assert visit.page.locator("#panel-title").inner_text() == "Edit"
    for _ in range(3):
        visit.page.keyboard.press("ArrowUp")
    visit.page.focus("#canvas")
    visit.page.keyboard.press("Enter")
    playwright.expect(visit.results()).to_have_count(before + 4, timeout=60_000)
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.locator("#viewer").is_visible()
    visit.page.keyboard.press("Escape")
    visit.page.keyboard.press("?")
    assert visit.page.locator("#keys").is_visible()


def test_everything_has_a_name_for_screen_readers(visit: Visit) -> None:
    visit.page.wait_for_selector("#results .tile img")
    for kind in ("vary", "fill", "paint", "train"):
        visit.page.click(f"[data-kind={kind}]")
        script = """() => [...document.querySelectorAll('button, input, select, canvas, a')]
            .filter((e) => e.offsetParent && !(e.ariaLabel || e.getAttribute('aria-label')
                || e.innerText?.trim() || e.title || e.labels?.length))
            .map((e) => e.outerHTML)"""
        assert visit.page.evaluate(script) == []


def test_train_with_drafts_kill_the_server_and_find_everything(
    visit: Visit, served: Served
) -> None:
    visit.page.wait_for_selector("#results .tile img")
    pictures = visit.results().count()
    visit.page.click("[data-kind=train]")
    visit.page.select_option("#field-for", "animate")
    visit.page.click("#run")
    playwright.expect(visit.page.locator(".run .drafts img").first).to_be_visible(timeout=120_000)
    served.kill()
    time.sleep(0.5)
    served.begin()
    visit.page.reload()
    visit.page.wait_for_selector("#results .tile img")
    assert visit.results().count() == pictures
    visit.page.click("[data-kind=train]")
    visit.page.click("text=Continue", timeout=60_000)
    playwright.expect(visit.page.locator(".run")).to_contain_text("done", timeout=900_000)
    visit.page.click("text=Draw with it")
    visit.draws(4)
    visit.page.click("[data-kind=animate]")
    visit.draws(1)
    assert (
        io.BytesIO(
            visit.page.request.get(
                f"http://127.0.0.1:{PORT}" + visit.results().first.get_attribute("src")
            ).body()
        ).read(4)
        == b"GIF8"
    )


@pytest.mark.parametrize(("kind", "label"), [("confusion", "Real"), ("versus", "Left")])
def test_a_study_by_keyboard(
    kind: str, label: str, browser: Any, tmp_path: Path, photo: Path
) -> None:
    for name in ("ours", "real"):
        (tmp_path / name).mkdir()
        for i in range(2):
            shutil.copy(photo, tmp_path / name / f"{i}.png")
    line = f"study {tmp_path}/ours {tmp_path}/real -o {tmp_path}/s --trials 4 --seconds 0.2"
    line += f" --kind {kind}"
    words = [sys.executable, "-m", "singleimage", *line.split(), "--port", str(PORT + 1)]
    process = subprocess.Popen([*words, "--no-browser"], stderr=subprocess.DEVNULL)
    try:
        page = browser.new_page()
        answers: list[int] = []
        page.on("response", lambda r: answers.append(r.status) if "/answers" in r.url else None)
        for _ in range(100):
            try:
                page.goto(f"http://127.0.0.1:{PORT + 1}/")
                break
            except playwright.Error:
                time.sleep(0.2)
        page.click("text=Begin")
        for index in range(4):
            button = page.get_by_role("button", name=label)
            playwright.expect(button).to_be_enabled(timeout=20_000)
            assert page.locator("figure.gone").count() == (1 if kind == "confusion" else 2)
            if index == 2:
                button.evaluate("(button) => { button.click(); button.click(); }")
            else:
                page.keyboard.press("ArrowRight")
            page.wait_for_timeout(150)
        playwright.expect(page.locator("h1")).to_contain_text("That was all")
        assert answers == [200] * 4
        page.close()
    finally:
        process.terminate()
        process.wait(20)
    (file,) = (tmp_path / "s" / "participants").iterdir()
    assert len(file.read_text().splitlines()) == 1 + 4
