"""The page in Chromium: mouse, keyboard, camera, phone; no requests to other hosts."""

import importlib.util
import os
import pathlib
import re
import shutil

import numpy as np
import pytest

from tests.helpers.clips import barcoded_frames, write_clip

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(
        not importlib.util.find_spec("gradio") or not importlib.util.find_spec("playwright"),
        reason="needs pip install -r requirements-app-dev.txt",
    ),
    pytest.mark.skipif(not CHROMIUM, reason="needs apt-get install chromium"),
]
TIMEOUT_MS = 120_000  # for busy machines
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, barcoded_frames(12, 48, 64))
    return str(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from tests.helpers.app_server import serving, write_adapters

    adapters = write_adapters(tmp_path_factory.mktemp("adapters"))
    with serving(tmp_path_factory.mktemp("server"), *adapters, "--max_megabytes=2") as server:
        yield server


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's sandbox needs privileges that containers lack; it opens only our own page.
        arguments = ["--no-sandbox", *CAMERA]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, server, request):
    """The page as a visitor opens it; requests to other hosts fail the test."""
    page = new_page(chromium, width=getattr(request, "param", 1200))
    requested, errors = [], []
    page.on("request", lambda sent: requested.append(sent.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    open_page(page, server)
    yield page
    page.close()
    own = (server.url, "data:", f"blob:{server.url}")
    assert [url for url in requested if not url.startswith(own)] == []
    assert errors == []


def new_page(chromium, width: int = 1200, **options):
    page = chromium.new_page(viewport={"width": width, "height": 900}, **options)
    page.set_default_timeout(TIMEOUT_MS)
    return page


def open_page(page, server) -> None:
    """Open the page and wait for its first heartbeat."""
    with page.expect_response("**/heartbeat/*"):
        page.goto(server.url)
    button(page).wait_for()


def button(page):
    return page.get_by_role("button", name="Recognize")


def choose(page, clip: str) -> None:
    page.locator("input[type=file]").set_input_files(clip)
    # A file that the browser cannot play gets a second button of this name.
    page.get_by_role("button", name="Clear").first.wait_for()


def test_page_answers_an_upload_and_answers_again_in_another_language(page, clip, server):
    choose(page, clip)
    button(page).click()
    page.locator("#answer .ranks").wait_for()
    assert page.locator("#answer .ranks li").count() == 3
    assert page.locator("#answer .frames li").count() == 4
    widths = page.locator("#answer img").evaluate_all("all => all.map(i => i.naturalWidth)")
    assert widths == [224] * 8
    assert page.locator("video").count() == 0
    assert not server.left()
    # Labels with scripts are shown and not run; the clip need not be chosen again.
    page.get_by_label("two").check()
    page.get_by_text("onerror=").first.wait_for()
    assert "${document.title=1}" in page.locator("#answer").inner_text()
    assert page.title() == "Which sign is it?"


def test_page_shows_an_alert_for_a_file_that_is_not_a_video(page, tmp_path):
    path = tmp_path / "<img src=x onerror='document.title=1'>.mp4"
    path.write_bytes(b"no video")
    choose(page, str(path))
    button(page).click()
    message = page.get_by_role("alert")
    message.wait_for()
    assert "<" not in message.inner_html()
    assert page.title() == "Which sign is it?"


def test_page_without_a_clip_shows_an_alert(page):
    button(page).click()
    page.get_by_role("alert").wait_for()


def test_page_refuses_a_file_that_is_too_large(page, tmp_path):
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(2_200_000))
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_text("exceed the maximum allowed size of 2").first.wait_for()


def test_page_works_with_the_keyboard_alone(page, clip):
    def tab_to(name: str) -> None:
        for _ in range(12):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "() => { const e = document.activeElement;"
                " return `${e.ariaLabel} ${e.value} ${e.tagName == 'BUTTON' && e.innerText}` }"
            )
            if name in focused:
                return
        raise AssertionError(f"Tab never reaches {name}")

    choosers: list = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(100):  # on a busy machine the page may be redrawn meanwhile
        tab_to("Drop a video file here to upload")
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        if choosers:
            break
    choosers[0].set_files(clip)
    # A file that the browser cannot play gets a second button of this name.
    page.get_by_role("button", name="Clear").first.wait_for()
    tab_to("two")
    page.keyboard.press("Space")
    assert page.get_by_label("two").is_checked()
    tab_to("Recognize")
    page.keyboard.press("Enter")
    page.get_by_text("onerror=").first.wait_for()


SHOWN_FRAMES = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"


def test_page_answers_a_clip_from_the_camera(page):
    page.get_by_role("button", name="Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    record = page.get_by_role("button", name="start recording")
    record.get_by_text("Record").wait_for()
    # Gradio shows the button once it has asked for the cameras, and can record when it knows them.
    page.evaluate("navigator.mediaDevices.enumerateDevices().then(() => null)")
    record.click()
    record.get_by_text("Stop").wait_for()
    shown = page.evaluate(SHOWN_FRAMES)
    page.wait_for_function(f"{SHOWN_FRAMES} > {shown + 40}")
    record.click()
    # A file that the browser cannot play gets a second button of this name.
    page.get_by_role("button", name="Clear").first.wait_for()
    button(page).click()
    answer = page.locator("#answer .ranks, #answer .error")
    answer.wait_for()
    assert answer.locator("li").count() == 3, answer.inner_text()


@pytest.mark.parametrize("page", [390], indirect=True)
def test_page_on_a_phone_is_not_wider_than_the_screen(page, clip):
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 390
    choose(page, clip)
    assert page.evaluate(width) == 390
    page.get_by_label("two").check()
    button(page).click()
    page.locator("#answer .ranks").wait_for()
    assert page.evaluate(width) == 390
    right = page.locator("#answer *").evaluate_all(
        "all => Math.max(...all.map(e => e.getBoundingClientRect().right))"
    )
    assert right <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(chromium, server, clip, scheme):
    page = new_page(chromium, color_scheme=scheme)
    open_page(page, server)
    choose(page, clip)
    button(page).click()
    page.locator("#answer .ranks").wait_for()
    colors = page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, ...["
        "'.label', '.share', 'p', '.caption'].map("
        "s => getComputedStyle(document.querySelector('#answer ' + s)).color)]"
    )
    background, *texts = (luminance(color) for color in colors)
    for text in texts:
        lighter, darker = max(text, background), min(text, background)
        assert (lighter + 0.05) / (darker + 0.05) > 4.5, colors  # WCAG 2.2, level AA
    page.close()


def luminance(color: str) -> float:
    """Relative luminance of `rgb(…)` as WCAG defines it."""
    share = np.array([int(part) for part in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.skipif("DEMO_WORKDIR" not in os.environ, reason="needs the demo's DEMO_WORKDIR")
def test_page_of_a_workdir_answers(chromium, tmp_path):
    from tests.helpers.app_server import serving

    demo = pathlib.Path(os.environ["DEMO_WORKDIR"])
    with serving(tmp_path, f"--workdir={demo / 'adapter'}") as server:
        page = new_page(chromium)
        open_page(page, server)
        choose(page, str(demo / "recordings/drum/signer9_0.mp4"))
        button(page).click()
        page.locator("#answer .ranks").wait_for()
        assert page.locator("#answer .ranks .label").first.inner_text() == "drum"
        page.close()
