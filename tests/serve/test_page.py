"""The page at / in a real browser, Debian's Chromium, over a real service."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.serve.browsing import CHROMIUM, Open, choose, drawn, faults
from tests.serve.serving import SMALL, Served, encoded, serving, until

from apvit.recognition.sinks import columns
from apvit.serve.pages import FOLDER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser at {CHROMIUM}: apt install chromium"),
]


def explained(page: Any) -> None:
    """Wait until the faces are there with their explanations."""
    page.wait_for_selector(".face h2 img[src^='data:']")


def hand_over(page: Any, event: str, data: bytes) -> None:
    """Drop or paste a file."""
    page.evaluate(
        """([event, data]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "given.jpg", {type: "image/jpeg"}));
            const made = event === "paste"
                ? new ClipboardEvent(event, {clipboardData: transfer, bubbles: true, cancelable: true})
                : new DragEvent(event, {dataTransfer: transfer, bubbles: true, cancelable: true});
            document.getElementById("drop").dispatchEvent(made);
        }""",
        [event, base64.b64encode(data).decode()],
    )


def drawn_over(picture: Image.Image, inside: tuple[float, float, float, float] | None) -> float:
    """Share of the photo, or of a part of it, that is drawn over."""
    part = picture.crop(inside).getchannel("A")
    return sum(part.histogram()[1:]) / (part.width * part.height)


def test_a_photo_becomes_a_result_that_is_drawn_and_told(open_page: Open, served: Served, photo: bytes) -> None:
    page = open_page()
    choose(page, photo)
    explained(page)
    face = served.post(photo).json()["results"][0]["faces"][0]
    assert page.inner_text("#status").startswith(f"One face: {face['expression']}")
    assert page.inner_text(".face h2").startswith(face["expression"])
    bars = page.eval_on_selector_all(".bars dt", "all => all.map((one) => one.textContent)")
    assert bars == list(face["probabilities"])
    picture = drawn(page, "#drawing")
    scale = picture.width / 256
    x1, y1, x2, y2 = (round(value * scale) for value in face["box"])
    assert picture.getpixel((x1, (y1 + y2) // 2))[3] == 255  # the box's left side
    assert drawn_over(picture, (x1 + 9, y1 + 9, x2 - 9, y2 - 9)) == 0
    assert 0 < drawn_over(picture, None) < 0.2


def test_a_photo_without_faces_is_told(open_page: Open) -> None:
    page = open_page()
    choose(page, encoded(Image.new("RGB", (200, 200))))
    page.wait_for_selector("#status:has-text('No face was found')")
    assert page.is_visible("#shown")
    assert page.is_hidden("#panel")
    assert page.is_hidden("#controls")


def test_a_format_that_only_the_service_reads_is_listed(open_page: Open, photo: bytes) -> None:
    page = open_page()
    choose(page, encoded(Image.open(io.BytesIO(photo)), "TIFF"), "photo.tiff")
    explained(page)
    assert page.is_hidden("#shown")
    assert page.is_disabled("#png")
    choose(page, photo)
    explained(page)
    assert page.is_visible("#shown")
    assert page.is_enabled("#png")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_photo_may_be_dropped_and_pasted(open_page: Open, photo: bytes, event: str) -> None:
    page = open_page()
    hand_over(page, event, photo)
    explained(page)
    assert page.inner_text("#status").startswith("One face")


def test_the_camera_gives_a_picture(open_page: Open) -> None:
    page = open_page(permissions=["camera"])
    page.click("#camera")
    until(lambda: page.evaluate("document.getElementById('view').videoWidth > 0"))
    page.click("#take")
    explained(page)
    assert page.inner_text("#status").startswith("One face: happiness")
    assert page.evaluate("document.getElementById('view').srcObject") is None
    page.click("#camera")
    page.keyboard.press("Escape")
    page.wait_for_selector("#booth", state="hidden")


def test_kept_patches_and_relevance_are_drawn_when_switched_on(open_page: Open, photo: bytes) -> None:
    page = open_page()
    choose(page, photo)
    explained(page)
    over = {}
    for layer in ("nothing", "kept patches", "relevance"):
        page.click(f"text={layer}")
        over[layer] = drawn_over(drawn(page, "#drawing"), None)
        assert page.is_hidden("#meaning") == (layer == "nothing")
    assert 0 < over["nothing"] < over["kept patches"] < over["relevance"] < 0.5


def test_the_dial_changes_what_is_kept_and_says_how_long_it_takes(open_page: Open, photo: bytes) -> None:
    page = open_page()
    choose(page, photo)
    explained(page)
    assert page.inner_text("#kept") == "118 of 144 (82 %)"
    assert page.is_hidden("#reset")
    page.focus("#keep")
    with page.expect_response(lambda answer: "/v1/explain?keep=2" in answer.url) as told:
        page.keyboard.press("Home")
    kept = told.value.json()["results"][0]["faces"][0]["explanation"]["kept"]
    assert sum(map(sum, kept)) == 2
    assert page.inner_text("#kept") == "2 of 144 (1 %)"
    assert re.fullmatch(r"[0-9.]+ ms for this face in the network", page.inner_text("#time"))
    with page.expect_response(lambda answer: answer.url.endswith("/v1/explain")):
        page.click("#reset")
    assert page.inner_text("#kept") == "118 of 144 (82 %)"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"no picture", "'photo.jpg' is not a picture in a known format"),
        (b"", "'photo.jpg' is empty"),
        (bytes(SMALL.limits.body_bytes), "the request has more than 2,000,000 bytes; send fewer or smaller pictures"),
        (encoded(Image.new("L", (1000, 1000))), "has 1,000 x 1,000 pixels, more than the 600,000 allowed"),
    ],
    ids=["no picture", "empty", "too many bytes", "too many pixels"],
)
def test_what_cannot_be_used_is_told_in_a_sentence(open_page: Open, photo: bytes, data: bytes, sentence: str) -> None:
    page = open_page()
    choose(page, data)
    page.wait_for_selector("#error:not([hidden])")
    assert sentence in page.inner_text("#error")
    assert page.is_hidden("#shown")
    choose(page, photo)  # and the next one is as good as ever
    explained(page)
    assert page.is_hidden("#error")


def test_a_key_is_asked_for_where_the_service_wants_one(open_page: Open, photo: bytes) -> None:
    key = "0123456789abcdef"
    with serving(replace(SMALL, api_keys=(key,))) as locked:
        page = open_page(locked.url)
        page.wait_for_selector("#keyform:not([hidden])")
        assert "API key" in page.inner_text("#error")
        page.fill("#key", key)
        page.click("#keyform button")
        page.wait_for_selector("#model:not(:empty)")
        choose(page, photo)
        explained(page)
        assert page.is_hidden("#keyform")
        page.context.close()


def test_the_result_can_be_saved(open_page: Open, photo: bytes) -> None:
    page = open_page()
    choose(page, photo, 'a "b".jpg')
    explained(page)
    saved = {}
    for form in ("JSON", "CSV", "PNG"):
        with page.expect_download() as download:
            page.click(f"#saving >> text={form}")
        saved[form] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.endswith(f"-expressions.{form.lower()}")
    result = json.loads(saved["JSON"])
    assert result["faces"][0]["explanation"]["grid"] == 12
    (row,) = csv.DictReader(io.StringIO(saved["CSV"].decode()))
    face = result["faces"][0]
    assert list(row) == columns(list(face["probabilities"]))
    assert (row["source"], row["face"], row["expression"]) == (result["source"], "1", face["expression"])
    assert float(row["right_mouth_y"]) == face["landmarks"][4][1]
    assert float(row["p_happiness"]) == face["probabilities"]["happiness"]
    picture = Image.open(io.BytesIO(saved["PNG"])).convert("RGB")
    assert picture.size == (256, 256)
    assert picture.tobytes() != Image.open(io.BytesIO(photo)).convert("RGB").tobytes()


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page: Open, crowd: bytes) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 360
    choose(page, encoded(Image.open(io.BytesIO(crowd)).crop((0, 0, 320, 200))))
    explained(page)
    for layer in ("kept patches", "relevance"):
        page.click(f"text={layer}")
    assert page.evaluate(width) == 360


def test_the_theme_is_the_systems_until_it_is_chosen(open_page: Open) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        seen[scheme] = page.evaluate(ground)
    assert seen["light"] != seen["dark"]
    page.click("text=Light theme")
    assert page.evaluate(ground) == seen["light"]
    assert page.inner_text("#theme") == "Dark theme"


def test_everything_can_be_reached_with_the_keyboard(open_page: Open, photo: bytes) -> None:
    page = open_page()
    choose(page, photo)
    explained(page)
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.value || ''"))
    assert [one for one in ("theme", "file", "camera", "keep", "none", "png") if one not in reached] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["empty", "result", "error"])
def test_axe_finds_no_fault(open_page: Open, photo: bytes, scheme: str, state: str) -> None:
    page = open_page(color_scheme=scheme)
    page.wait_for_selector("#model:not(:empty)")
    if state == "result":
        choose(page, photo)
        explained(page)
        page.click("text=kept patches")
    elif state == "error":
        choose(page, b"no picture")
        page.wait_for_selector("#error:not([hidden])")
    assert faults(page) == []


def test_the_page_may_load_nothing_from_elsewhere(served: Served) -> None:
    for name in ("", *(file.name for file in FOLDER.iterdir() if file.name != "index.html")):
        answer = served.client.get(f"/{name}")
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace("https, or a page", "")
    assert served.client.get("/").headers["Content-Type"] == "text/html; charset=utf-8"
    assert served.client.get("/page.js").headers["Content-Type"].startswith("text/javascript")
    assert served.client.get("/v1/recognize").status_code == 405  # the page hides no route
    assert served.client.get("/pages.py").status_code == 404
