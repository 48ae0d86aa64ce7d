"""The page as a viewer meets it, in Chromium: what is painted, moved, saved, recorded, and refused."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest

from edgefsa.media.labels import read_label
from tests.unit.segment.fakes import NAMES, PALETTE
from tests.unit.serve.harness import Live, serving

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright ([dev])")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
TOKEN = "correct-horse-battery-staple"
# What the canvas shows, drawn anew: [height, width, r, g, b, a, ...].
PIXELS = """() => {
  const view = document.getElementById("view");
  document.getElementById("contours").dispatchEvent(new Event("input"));
  const copy = document.createElement("canvas");
  copy.width = view.width; copy.height = view.height;
  const context = copy.getContext("2d");
  context.drawImage(view, 0, 0);
  return [view.height, view.width, ...context.getImageData(0, 0, view.width, view.height).data];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--mute-audio"]
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that no test used before; a page with an error in it fails the test."""
    made = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    made.set_default_timeout(20_000)
    errors: list[str] = []
    made.on("weberror", lambda error: errors.append(str(error.error)))
    made.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    yield made
    made.close()
    assert errors == []


@pytest.fixture
def page(context: BrowserContext, live: Live) -> Page:
    """The page with one frame on it."""
    live.feed(bars())
    return opened(context, live)


@pytest.fixture(params=["webgl2", "2d"])
def painted(request: pytest.FixtureRequest, context: BrowserContext, live: Live) -> Page:
    """The page with one frame on it, painted by WebGL, and by the canvas where there is none."""
    if request.param == "2d":
        context.add_init_script(
            "const get = HTMLCanvasElement.prototype.getContext;"
            "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
            " return kind === 'webgl2' ? null : get.call(this, kind, ...more); };"
        )
    live.feed(bars())
    made = opened(context, live)
    kind = "WebGL2RenderingContext" if request.param == "webgl2" else "CanvasRenderingContext2D"
    found = made.evaluate(f"document.getElementById('view').getContext('{request.param}')?.constructor.name")
    assert found == kind, f"this Chromium paints by {found}"
    return made


def opened(context: BrowserContext, live: Live, fragment: str = "") -> Page:
    page = context.new_page()
    page.goto(f"{live.url}/{fragment}")
    page.wait_for_selector("#state[data-state=live]")
    return page


def bars(shift: int = 0) -> np.ndarray:
    """A grey frame 48 x 64 with a bar of each of the four classes, side by side."""
    blue = np.repeat(np.array([20, 90, 150, 220], np.uint8), 16)[None, :, None]
    return np.roll(np.tile(blue, (48, 1, 3)), shift, axis=1)


def pixels(page: Page) -> np.ndarray:
    """Return what the page's canvas shows, int [H, W, 3] in R, G, B order."""
    height, width, *values = page.evaluate(PIXELS)
    return np.array(values).reshape(height, width, 4)[..., :3]


def move(page: Page, control: str, value: float) -> None:
    page.locator(control).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )


def blended(opacity: float, class_index: int) -> np.ndarray:
    grey = (20, 90, 150, 220)[class_index]
    return (1 - opacity) * grey + opacity * np.array(PALETTE[class_index])


def test_the_mask_is_painted_over_the_frame(painted: Page) -> None:
    painted.uncheck("#contours")
    for opacity in (50, 100, 0):
        move(painted, "#opacity", opacity)
        seen = pixels(painted)
        assert seen.shape == (48, 64, 3)
        for index in range(4):
            expected = blended(opacity / 100, index)
            assert np.abs(seen[24, 16 * index + 8] - expected).max() < 6, f"{NAMES[index]} at {opacity} %"


def test_contours_are_lines_between_classes(painted: Page) -> None:
    painted.uncheck("#contours")
    without = pixels(painted)
    painted.check("#contours")
    changed = np.abs(pixels(painted) - without).max(axis=2)[24] > 10
    assert changed.any()
    assert all(min(abs(column - edge) for edge in (16, 32, 48)) <= 2 for column in np.flatnonzero(changed))


def test_a_class_is_switched_off_and_on(painted: Page) -> None:
    painted.uncheck("#contours")
    before = pixels(painted)
    box = painted.get_by_role("checkbox", name=re.compile("^bright"))
    box.uncheck()
    without = pixels(painted)
    assert np.abs(without[24, 56] - 220).max() < 6, "the frame alone"
    assert np.array_equal(without[:, :44], before[:, :44])
    painted.keyboard.press("4")
    assert box.is_checked() and np.array_equal(pixels(painted), before)


def test_the_slider_shows_before_and_after(painted: Page) -> None:
    painted.uncheck("#contours")
    box = painted.locator("#split").bounding_box()
    assert box is not None
    painted.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2)
    painted.mouse.down()
    painted.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    painted.mouse.up()
    seen = pixels(painted)
    for index in (0, 1):
        assert np.abs(seen[24, 16 * index + 8] - (20, 90)[index]).max() < 6, "the frame alone"
    for index in (2, 3):
        assert np.abs(seen[24, 16 * index + 8] - blended(0.5, index)).max() < 6
    painted.focus("#split")
    painted.keyboard.press("Home")
    assert np.abs(pixels(painted)[24, 8] - blended(0.5, 0)).max() < 6, "moved by keyboard"


def test_the_picture_changes_with_the_frames(page: Page, live: Live) -> None:
    page.uncheck("#contours")
    before = pixels(page)
    live.feed(bars(16))
    page.wait_for_function("n => document.querySelector('#figures').textContent.includes(`frames${n}`)", arg="2")
    after = pixels(page)
    assert np.abs(after[24, 24] - before[24, 8]).max() < 6 and not np.array_equal(before, after)


def test_what_is_seen_is_saved(painted: Page, live: Live, tmp_path: Path) -> None:
    move(painted, "#opacity", 80)
    with painted.expect_download() as download:
        painted.click("#snapshot")
    overlay = tmp_path / "overlay.png"
    download.value.save_as(overlay)
    assert download.value.suggested_filename.endswith(".png")
    saved = cv2.imread(str(overlay))[..., ::-1]
    assert np.abs(saved.astype(int) - pixels(painted)).max() <= 1
    with painted.expect_download() as download:
        painted.click("#mask")
    download.value.save_as(tmp_path / "mask.png")
    assert np.array_equal(read_label(tmp_path / "mask.png"), bars()[..., 0] // 64)


def test_a_clip_is_recorded_saved_and_played(context: BrowserContext, live: Live, tmp_path: Path) -> None:
    with live.feeding():
        page = opened(context, live)
        page.click("#record")
        page.wait_for_selector("#record[aria-pressed=true]")
        page.wait_for_timeout(1500)
        page.click("#record")
        page.wait_for_selector("#clips li")
        with page.expect_download() as download:
            page.click("#clips a")
        download.value.save_as(tmp_path / "clip.mp4")
        page.click("#clips button")
        page.wait_for_function("() => document.querySelector('video').currentTime > 0.3")
        played = page.locator("video").evaluate("video => [video.videoWidth, video.videoHeight, video.error]")
    assert played == [64, 48, None]
    with av.open(str(tmp_path / "clip.mp4")) as video:
        assert len({frame.to_ndarray().tobytes() for frame in video.decode(video=0)}) > 5


def test_a_viewer_pauses_and_switches_engines(page: Page, live: Live) -> None:
    page.keyboard.press("Space")
    page.wait_for_selector("#state[data-state=paused]")
    assert live.run.paused and page.get_by_role("button", name="Go on").is_visible()
    page.click("#pause")
    page.wait_for_selector("#state:not([data-state=paused])")
    page.select_option("#engine", "second")
    page.wait_for_function("() => !document.querySelector('#error').textContent")
    live.feed(bars())
    assert live.run.engine.name == "second" and not live.run.paused


def test_figures_shares_and_times_are_shown(page: Page, live: Live) -> None:
    for _ in range(9):
        live.feed(bars())
    page.wait_for_function("() => document.querySelector('#figures').textContent.includes('frames10')")
    assert re.search(r"camera to mask7\.\d ms", page.inner_text("#figures").replace("\n", ""))
    assert page.locator("#classes li").all_inner_texts()[0].split() == ["dark", "25.0", "%"]
    assert page.locator("#times svg path").count() == 2
    assert page.locator("#times svg path").first.get_attribute("d")
    painted = """([row, r, g, b]) => {
      const { width, height } = document.getElementById("shares");
      const context = document.getElementById("shares").getContext("2d");
      const seen = context.getImageData(width - 2, Math.floor(height * row), 1, 1).data;
      return Math.hypot(seen[0] - r, seen[1] - g, seen[2] - b) < 10;
    }"""
    for _ in range(3):  # the chart has two points a second
        page.wait_for_timeout(600)
        live.feed(bars())
    for index, row in enumerate((0.85, 0.6, 0.35, 0.1)):  # from below, a quarter each
        page.wait_for_function(painted, arg=[row, *PALETTE[index]])


def test_silence_is_said(page: Page, live: Live) -> None:
    page.wait_for_selector("#state[data-state=silent]")
    assert re.fullmatch(r"no frames for [3-9] s", page.inner_text("#silence"))
    live.feed(bars(8))
    page.wait_for_selector("#state[data-state=live]")
    assert not page.locator("#silence").is_visible()


def test_the_page_finds_a_server_that_was_started_again(context: BrowserContext) -> None:
    with serving() as live:
        live.feed(bars())
        page = opened(context, live)
        port = live.sink.port
    page.wait_for_selector("#state[data-state=lost]")
    with serving(port=port) as again:
        again.feed(bars(16))
        page.wait_for_selector("#state[data-state=live]")
        assert np.abs(pixels(page)[24, 8] - blended(0.5, 3)).max() < 6


def test_a_hidden_page_takes_no_frames(page: Page, live: Live) -> None:
    hide = "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange')); }"
    with live.client() as client:

        def viewers() -> int:
            page.wait_for_timeout(100)
            return int(client.get("/api/figures").json()["viewers"])

        for hidden, expected in ((True, 0), (False, 1)):
            page.evaluate(hide, hidden)
            assert any(viewers() == expected for _ in range(100))


def test_the_link_opens_the_page_and_leaves_no_token_in_it(context: BrowserContext) -> None:
    with serving(token=TOKEN) as live:
        live.feed(bars())
        page = opened(context, live, f"#token={TOKEN}")
        assert TOKEN not in page.url and TOKEN not in page.evaluate("document.cookie + history.length")
        assert opened(context, live).url == f"{live.url}/", "the cookie lasts"
        [cookie] = context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"


def test_without_the_token_the_page_asks_for_it(context: BrowserContext) -> None:
    with serving(token=TOKEN) as live:
        live.feed(bars())
        page = context.new_page()
        page.goto(live.url)
        page.wait_for_selector("#login", state="visible")
        assert not page.locator("#live").is_visible()
        assert page.evaluate("document.activeElement.id") == "token"
        page.keyboard.type("a wrong token indeed")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#login-error').textContent")
        page.fill("#token", TOKEN)
        page.click("#login button")
        page.wait_for_selector("#state[data-state=live]")


@pytest.fixture
def foreign_site() -> Iterator[str]:
    """Another site on this machine, whose page tries everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>foreign</title>")

        def log_message(self, *_: Any) -> None:
            pass

    site = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    site.server_close()
    thread.join()


def test_a_page_of_another_site_sees_and_changes_nothing(browser: Browser, live: Live, foreign_site: str) -> None:
    live.feed(bars())
    context = browser.new_context()
    page = context.new_page()
    page.goto(foreign_site)
    tries = """async (url) => {
      const socket = await new Promise((done) => {
        const made = new WebSocket(url.replace("http", "ws") + "/api/live");
        made.onmessage = () => done("open");
        made.onclose = () => done("closed");
      });
      const image = await new Promise((done) => {
        const made = new Image();
        made.onload = () => done("seen");
        made.onerror = () => done("hidden");
        made.src = url + "/snapshot.jpg";
      });
      const frame = document.createElement("iframe");
      frame.src = url;
      document.body.append(frame);
      const body = JSON.stringify({ paused: true });
      const headers = { "content-type": "text/plain" };
      await fetch(url + "/api/pause", { method: "POST", mode: "no-cors", body, headers }).catch(() => null);
      const read = await fetch(url + "/api/figures").then(() => "read", () => "unread");
      return [socket, image, read];
    }"""
    assert page.evaluate(tries, live.url) == ["closed", "hidden", "unread"]
    assert not live.run.paused
    page.wait_for_timeout(300)
    assert all(not frame.query_selector("#view") for frame in page.frames if frame != page.main_frame)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 820, 400])
def test_everything_is_within_the_page_and_has_a_name(browser: Browser, live: Live, width: int, scheme: Any) -> None:
    live.feed(bars())
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = opened(context, live)
    page.wait_for_selector("dd")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    unnamed = """() => [...document.querySelectorAll("button, input, select, a, canvas, video")]
      .filter((item) => item.checkVisibility())
      .filter((item) => !(item.getAttribute("aria-label") || item.textContent.trim() || item.labels?.length))
      .map((item) => item.outerHTML)"""
    assert page.evaluate(unnamed) == []
    contrast = page.evaluate(CONTRAST)
    assert {name: round(ratio, 1) for name, ratio in contrast.items() if ratio < 4.5} == {}
    focusable = {"pause", "record", "snapshot", "mask", "engine", "opacity", "contours", "split"}
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id"))
    assert focusable <= seen
    page.focus("#pause")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    context.close()


# The contrast of each kind of text to what lies behind it, as WCAG 2 defines it.
CONTRAST = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (item) => {
    const colour = getComputedStyle(item).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? behind(item.parentElement) : colour;
  };
  const ratios = {};
  for (const name of "h1,h1 span,h2,h2 small,#state,button,.field,dt,dd,.share,.head span".split(",")) {
    const item = document.querySelector(name);
    const [low, high] = [light(getComputedStyle(item).color), light(behind(item))].sort((a, b) => a - b);
    ratios[name] = (high + 0.05) / (low + 0.05);
  }
  return ratios;
}"""
