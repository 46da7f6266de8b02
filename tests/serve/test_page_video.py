"""A video on the page at /, in a real browser, over a real service: the timeline of its faces."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.serve.browsing import CHROMIUM, Open, choose, drawn, faults, opening
from tests.serve.serving import SMALL, Served, until

from apvit.recognition.video.table import columns

av = pytest.importorskip("av", reason="needs PyAV (apvit[video])")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser at {CHROMIUM}: apt install chromium"),
]

RATE, CUT, SECONDS = 10, 1.6, 3
WIDTH, HEIGHT = 320, 240

Paint = Callable[[float], Image.Image]


def webm(paint: Paint, *, seconds: float = SECONDS, **options: str) -> bytes:
    """A video (VP8) of what `paint` gives for each time."""
    file = io.BytesIO()
    with av.open(file, "w", "webm", options=options) as container:
        stream = container.add_stream("libvpx", rate=RATE, options={"deadline": "realtime", "cpu-used": "8", "g": "20"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 2_000_000
        for number in range(round(seconds * RATE)):
            frame = av.VideoFrame.from_image(paint(number / RATE))
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.fixture(scope="module")
def paint(photographs: dict[str, Path]) -> Paint:
    """Collins, who moves to the right; after a cut Hopper, at the same place."""
    with Image.open(photographs["astronaut"]) as picture:
        collins = picture.convert("RGB").crop((90, 0, 410, 240))
    with Image.open(photographs["grace_hopper"]) as picture:
        hopper = picture.convert("RGB").resize((320, 379)).crop((0, 40, 320, 280))

    def paint(time: float) -> Image.Image:
        if time >= CUT:
            return hopper
        frame = Image.new("RGB", (WIDTH, HEIGHT), (92, 98, 108))
        frame.paste(collins, (round(20 * time), 0))
        return frame

    return paint


@pytest.fixture(scope="module")
def clip(paint: Paint) -> bytes:
    """Three seconds, two persons."""
    return webm(paint)


@pytest.fixture(scope="module")
def short(paint: Paint) -> bytes:
    """Both persons, for 0.6 s each."""
    return webm(lambda time: paint(time + 1.0), seconds=1.2)


def choose_video(page: Any, data: bytes, name: str = "clip.webm") -> None:
    """Choose a video file."""
    choose(page, data, name, "video/webm")


def told(page: Any, words: str) -> str:
    """The status, once it says so."""
    page.wait_for_selector(f"#status:has-text('{words}')", timeout=15_000)
    text: str = page.inner_text("#status")
    return text


def time_of(page: Any) -> float:
    """Where the video stands, in seconds."""
    time: float = page.evaluate("document.getElementById('video').currentTime")
    return time


def seen(page: Any) -> str:
    """What a screen reader says of the timeline."""
    text: str = page.get_attribute("#seek", "aria-valuetext")
    return text


def saved(page: Any, form: str) -> bytes:
    """A download."""
    with page.expect_download() as download:
        page.click(f"#saving >> text={form}")
    assert download.value.suggested_filename == f"clip-expressions.{form.lower()}"
    return Path(download.value.path()).read_bytes()


@pytest.fixture(scope="module")
def page(browser: Any, served: Served, clip: bytes) -> Iterator[Any]:
    """The page, with the clip looked through; tests of this one only look around. `page.answers` has the service's."""
    with opening(browser, served.url) as open_it:
        page = open_it()
        page.answers = []
        page.on("response", lambda answer: page.answers.append(answer) if "/v1/recognize" in answer.url else None)
        choose_video(page, clip)
        told(page, "2 faces")
        yield page


def test_a_video_becomes_a_timeline(page: Any) -> None:
    assert re.fullmatch(r"2 faces: face 1 happiness for 1.6 s, face 2 \w+ for [0-9.]+ s", page.inner_text("#status"))
    who = page.eval_on_selector_all(".who", "all => all.map((one) => one.innerText.split('\\n'))")
    assert [names[0] for names in who] == ["Face 1", "Face 2"]
    assert who[0][1] == "happiness 100 %"
    page.wait_for_selector(".row:nth-child(2) img[src^='data:']")
    assert page.inner_text("#legend").split()[:2] == ["neutral", "happiness"]
    assert page.inner_text("#ticks span:last-child") == "0:03.0"
    assert page.is_hidden("#progress")
    assert page.is_hidden("#stop")


def test_each_frame_is_sent_once_within_the_limits(page: Any) -> None:
    sources = [[one["source"] for one in answer.json()["results"]] for answer in page.answers]
    assert [name for names in sources for name in names] == [f"frame at {2 * i / 10:g} s" for i in range(15)]
    assert max(map(len, sources)) <= SMALL.limits.pictures
    assert all(answer.url.endswith(f"?max_faces={SMALL.limits.faces}") for answer in page.answers)


def test_lanes_are_filled_where_a_face_was_seen(page: Any) -> None:
    first, second = (drawn(page, f".row:nth-child({i}) canvas") for i in (1, 2))
    cut = round(first.width * CUT / SECONDS)
    happy = (230, 159, 0, 255)
    for height in (5, first.height - 5):  # the expression, and its probability
        assert first.getpixel((10, height)) == first.getpixel((cut - 3, height)) == happy
        assert first.getpixel((cut + 3, height))[3] == second.getpixel((cut - 3, height))[3] == 0
        assert second.getpixel((cut + 3, height))[3] == second.getpixel((second.width - 2, height))[3] == 255


def test_the_table_says_what_the_timeline_shows(page: Any) -> None:
    rows = page.eval_on_selector_all("#shares tr", "all => all.map((one) => [...one.cells].map((c) => c.innerText))")
    assert rows[0] == ["", "Face 1", "Face 2"]
    assert rows[-1] == ["seen for", "1.6 s", "1.4 s"]
    shares = {row[0]: row[1:] for row in rows[1:-1]}
    assert shares["happiness"][0] == "100 %"
    for face in (0, 1):
        assert sum(int(share[face].removesuffix(" %")) for share in shares.values()) in (99, 100, 101)


def test_a_click_on_the_timeline_seeks(page: Any) -> None:
    place = page.locator("#seek").bounding_box()
    page.mouse.click(place["x"] + place["width"] * 2.5 / SECONDS, place["y"] + 30)
    until(lambda: abs(time_of(page) - 2.5) < 0.02)
    until(lambda: seen(page).startswith("0:02.5: face 2 "))
    assert page.inner_text("#moment") == "At 0:02.5"
    assert page.inner_text("#faces small") == "face 2"
    page.mouse.move(place["x"] + place["width"] * 2.5 / SECONDS, place["y"] + 30)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.5 / SECONDS, place["y"] + 30)
    page.mouse.up()
    until(lambda: seen(page).startswith("0:00.5: face 1 happiness"))
    cursor = page.eval_on_selector("#seek i", "one => one.style.left")
    assert float(cursor.removesuffix("%")) == pytest.approx(100 * 0.5 / SECONDS, abs=0.5)


@pytest.mark.parametrize(
    ("keys", "moment"),
    [
        (["ArrowRight"], 0.2),
        (["ArrowRight", "ArrowUp", "ArrowLeft"], 0.2),
        (["PageUp", "ArrowDown"], 1.8),
        (["End"], 3.0),
        (["End", "PageDown"], 1.0),
        (["ArrowRight", "Home", "ArrowLeft"], 0),
    ],
)
def test_keys_on_the_timeline_seek(page: Any, keys: list[str], moment: float) -> None:
    page.focus("#seek")
    page.keyboard.press("Home")
    for key in keys:
        page.keyboard.press(key)
    until(lambda: abs(time_of(page) - moment) < 0.05)
    until(lambda: seen(page).startswith(f"0:0{moment:.1f}: face {1 if moment < CUT else 2} "), 3)


def test_while_the_video_plays_boxes_and_cursor_move(page: Any) -> None:
    def has_played() -> bool:
        page.eval_on_selector("#video", "video => { [video.currentTime, video.playbackRate] = [0, 0.5]; video.play() }")
        time.sleep(1.5)
        return 0.3 < time_of(page) < 1.2

    until(has_played, 60)  # where the cores are busy, Chromium's decoder stands now and then until the next seek
    page.eval_on_selector("#video", "video => video.pause()")
    assert time_of(page) < CUT - 0.2
    until(lambda: seen(page).startswith(f"0:0{time_of(page):.1f}"))
    frames = json.loads(saved(page, "JSON"))["frames"]
    # Between the frames that were looked at, boxes move on.
    at, way = divmod(time_of(page), 0.2)
    before, after = (frames[int(at) + i]["faces"][0]["box"] for i in (0, 1))
    left, middle = before[0] + way / 0.2 * (after[0] - before[0]), (before[1] + before[3]) / 2
    picture = drawn(page, "#boxes")
    scale = picture.width / WIDTH
    assert (230, 159, 0) in [picture.getpixel((round(left * scale) + i, round(middle * scale)))[:3] for i in (-1, 0, 1)]
    assert page.eval_on_selector("#seek i", "one => one.style.left") == f"{100 * time_of(page) / SECONDS:g}%"


def test_what_was_found_can_be_saved(page: Any) -> None:
    result = json.loads(saved(page, "JSON"))
    assert (result["source"], result["every"]) == ("clip.webm", 0.2)
    assert result["seconds"] == pytest.approx(SECONDS, abs=0.05)
    frames = result["frames"]
    assert [frame["time"] for frame in frames] == [round(0.2 * i, 1) for i in range(15)]
    assert {(frame["width"], frame["height"]) for frame in frames} == {(WIDTH, HEIGHT)}
    assert [[face["track"] for face in frame["faces"]] for frame in frames] == [[1]] * 8 + [[2]] * 7
    assert [track["frames"] for track in result["tracks"]] == [8, 7]
    assert result["tracks"][0]["share"] == {"happiness": 1}
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV").decode())))
    expected = columns(list(frames[0]["faces"][0]["probabilities"]))
    assert list(rows[0]) == [name for name in expected if name in rows[0]]
    assert len(rows) == 15
    face = frames[8]["faces"][0]
    assert (float(rows[8]["time"]), rows[8]["track"], rows[8]["expression"]) == (1.6, "2", face["expression"])
    assert [float(rows[8][edge]) for edge in ("x1", "y1", "x2", "y2")] == face["box"]
    assert float(rows[8]["p_anger"]) == face["probabilities"]["anger"]
    picture = Image.open(io.BytesIO(saved(page, "PNG")))
    assert picture.size == (WIDTH, HEIGHT)


def test_stopped_keeps_what_is_done_and_goes_on(open_page: Open, served: Served, clip: bytes) -> None:
    page = open_page()
    choose_video(page, clip)
    page.wait_for_selector(".who")
    with served.stopped_worker():
        page.click("#stop")
        assert "what was found until there is kept" in page.inner_text("#status")
        assert page.inner_text("#stop") == "Go on"
        assert page.is_visible(".who")
        frames = json.loads(saved(page, "JSON"))["frames"]
        assert 0 < len(frames) < 15
    page.click("#stop")
    told(page, "2 faces")
    again = json.loads(saved(page, "JSON"))["frames"]
    assert again[: len(frames)] == frames
    assert [frame["time"] for frame in again] == [round(0.2 * i, 1) for i in range(15)]


def test_another_number_of_frames_begins_anew(open_page: Open, clip: bytes) -> None:
    page = open_page()
    choose_video(page, clip)
    page.wait_for_selector(".who")
    page.select_option("#every", "1")
    told(page, "2 faces")
    result = json.loads(saved(page, "JSON"))
    assert [frame["time"] for frame in result["frames"]] == [0, 1, 2]
    assert [track["track"] for track in result["tracks"]] == [1, 2]


def test_a_busy_service_is_asked_again_when_it_says(
    open_page: Open, served: Served, photo: bytes, short: bytes
) -> None:
    page = open_page()
    with served.stopped_worker():
        waiting = [served.post_later(photo)]
        until(lambda: served.service.batcher._working == 1)
        for number in range(SMALL.limits.waiting):
            waiting.append(served.post_later(photo))
            until(lambda: served.metric("apvit_waiting_requests") == number + 1)  # noqa: B023
        choose_video(page, short)
        told(page, "The service is busy; going on in")
    told(page, "2 faces")
    assert all(one.result().status_code == 200 for one in waiting)


def test_a_service_that_is_gone_is_told_and_taken_up_again(open_page: Open, short: bytes) -> None:
    page = open_page()
    page.wait_for_selector("#model:not(:empty)")
    page.context.set_offline(True)
    choose_video(page, short)
    page.wait_for_selector("#error:has-text('The service does not answer; is it still running?')")
    page.context.set_offline(False)
    page.click("text=Go on")
    told(page, "2 faces")
    assert page.is_hidden("#error")


def sound() -> bytes:
    """A file with sound alone."""
    file = io.BytesIO()
    with av.open(file, "w", "webm") as container:
        stream = container.add_stream("libopus", rate=48_000)
        frame = av.AudioFrame("s16", "mono", 48_000)
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda _: b"no video", "The browser cannot decode 'clip.webm'; try MP4 (H.264) or WebM."),
        (lambda _: b"", "The browser cannot decode 'clip.webm'; try MP4 (H.264) or WebM."),
        (lambda _: sound(), "'clip.webm' has no picture track that the browser can decode."),
    ],
    ids=["no video", "empty", "sound alone"],
)
def test_what_is_no_video_is_told_in_a_sentence(
    open_page: Open, photo: bytes, clip: bytes, make: Callable[[bytes], bytes], sentence: str
) -> None:
    page = open_page()
    choose_video(page, make(clip))
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error") == sentence
    assert page.is_hidden("#film")
    assert page.is_hidden("#timeline")
    choose(page, photo)  # and a photo is as good as ever
    told(page, "One face")
    assert page.is_hidden("#error")


def test_a_truncated_video_gives_what_it_holds(open_page: Open, clip: bytes) -> None:
    page = open_page()
    choose_video(page, clip[: len(clip) // 3])
    assert told(page, "One face").startswith("One face: face 1 happiness")


def test_a_video_without_faces_is_told(open_page: Open) -> None:
    page = open_page()
    choose_video(page, webm(lambda _: Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)), seconds=0.6))
    assert told(page, "No face").startswith("No face was found in 3 frames.")
    assert page.is_visible("#film")
    assert page.is_hidden("#panel")
    assert page.is_hidden("#lanes")
    assert page.is_hidden("#shares")


def test_a_recording_that_does_not_say_how_long_it_is(open_page: Open, paint: Paint) -> None:
    page = open_page()
    choose_video(page, webm(paint, live="1"))
    told(page, "2 faces")
    assert json.loads(saved(page, "JSON"))["seconds"] == pytest.approx(SECONDS, abs=0.15)


def test_a_photo_takes_the_place_of_a_video_and_back(open_page: Open, photo: bytes, short: bytes) -> None:
    page = open_page()
    choose_video(page, short)
    page.wait_for_selector(".who")
    choose(page, photo)  # while the video is looked through
    told(page, "One face")
    assert [page.is_visible(one) for one in ("#film", "#timeline", "#moment", "#shown", "#controls")] == [
        *(False, False, False, True, True)
    ]
    choose_video(page, short)
    told(page, "2 faces")
    assert [page.is_visible(one) for one in ("#film", "#timeline", "#moment", "#shown", "#controls")] == [
        *(True, True, True, False, False)
    ]


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page: Open, short: bytes) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True)
    choose_video(page, short)
    told(page, "2 faces")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#seek").scroll_into_view_if_needed()
    place = page.locator("#seek").bounding_box()
    assert place["width"] > 280
    page.touchscreen.tap(place["x"] + place["width"] * 0.8, place["y"] + 60)
    until(lambda: abs(time_of(page) - 0.8 * 1.2) < 0.02)


def test_everything_can_be_reached_with_the_keyboard(page: Any) -> None:
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || ''"))
    assert [one for one in ("file", "video", "every", "seek", "shares", "png") if one not in reached] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(open_page: Open, short: bytes, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    page.wait_for_selector("#model:not(:empty)")
    choose_video(page, short)
    page.wait_for_selector(".who")
    assert faults(page) == []
    told(page, "2 faces")
    assert faults(page) == []


@pytest.fixture(scope="module")
def empty(browser: Any, served: Served) -> Iterator[Any]:
    """The page with nothing on it."""
    page = browser.new_page()
    page.goto(served.url)
    yield page
    page.close()


@pytest.mark.parametrize("hidden", [False, True])
def test_frames_are_those_of_their_times(empty: Any, hidden: bool) -> None:
    """When Chromium says that a seek is over, now and then the frame before is drawn still."""

    def paint(time: float) -> Image.Image:
        """The number of the frame, in eight black or white fields."""
        number, frame = round(time * RATE), Image.new("L", (WIDTH, HEIGHT), 20)
        for bit in range(8):
            frame.paste(235 if number >> bit & 1 else 20, (40 * bit, 0, 40 * bit + 40, HEIGHT))
        return frame.convert("RGB")

    seen = empty.evaluate(
        """async ([data, hidden]) => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            const { framesOf } = await import("/frames.js");
            const url = URL.createObjectURL(new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))]));
            const wanted = { from: 0, every: 0.2, pixels: 1e6 };
            const context = new OffscreenCanvas(320, 240).getContext("2d", { willReadFrequently: true });
            const seen = [];
            for await (const { time, picture } of framesOf(url, "clip", wanted, new AbortController().signal)) {
                context.drawImage(await createImageBitmap(picture), 0, 0);
                const isWhite = (bit) => context.getImageData(40 * bit + 20, 99, 1, 1).data[1] > 99;
                const bits = [0, 1, 2, 3, 4, 5, 6, 7];
                seen.push([time, bits.reduce((number, bit) => number + isWhite(bit) * 2 ** bit, 0)]);
            }
            return seen;
        }""",
        [base64.b64encode(webm(paint, seconds=9)).decode(), hidden],
    )
    assert seen == [[2 * i / 10, 2 * i] for i in range(45)]


FACE = [100, 100, 140, 140]


def moved(x: float, y: float = 0, by: float = 1) -> list[float]:
    """FACE elsewhere, and larger."""
    return [100 + x, 100 + y, 100 + x + 40 * by, 100 + y + 40 * by]


@pytest.mark.parametrize(
    ("steps", "tracks"),
    [
        ([(0, [FACE]), (0.2, [moved(15)])], [[1], [1]]),
        ([(0, [FACE]), (0.2, [moved(60)])], [[1], [2]]),
        ([(0, [FACE, moved(100)]), (0.2, [moved(98), moved(3)])], [[1, 2], [2, 1]]),
        ([(0, [FACE]), (0.2, []), (1, []), (1.2, [FACE])], [[1], [], [], [1]]),  # gone for 1 s
        ([(0, [FACE]), (0.2, []), (1.2, []), (1.4, [FACE])], [[1], [], [], [2]]),  # and for longer
        ([(0, [FACE]), (1.5, [moved(10)])], [[1], [1]]),  # nobody looked meanwhile
        ([(0, [FACE]), (0.2, [moved(-30, -30, 2.5)])], [[1], [2]]),  # it does not grow so fast
        ([(0, [FACE]), (0.2, [FACE], True)], [[1], [2]]),  # a cut
        ([(0, [FACE]), (0.2, [moved(18), moved(1)])], [[1], [2, 1]]),  # the nearest goes on
    ],
)
def test_faces_keep_their_numbers(empty: Any, steps: list[tuple[Any, ...]], tracks: list[list[int]]) -> None:
    found = empty.evaluate(
        """async (steps) => {
            const { Following } = await import("/following.js");
            const following = new Following();
            return steps.map(([time, boxes, cut]) => following.step(time, boxes, Boolean(cut)));
        }""",
        steps,
    )
    assert found == tracks


def test_a_face_that_flickers_is_not_shown(empty: Any) -> None:
    """As in `apvit recognize`: less than half a second, unless all that was looked at is shorter."""
    found = empty.evaluate(
        """async () => {
            const { tracksOf } = await import("/shares.js");
            const face = (track) => ({ track, expression: "anger" });
            const frame = (i, ...tracks) => ({ time: i / 5, faces: tracks.map(face) });
            const frames = [frame(0, 1), frame(1, 1, 2), frame(2, 1, 2), frame(3, 1), frame(4, 1)];
            const numbers = (some) => tracksOf(some, 0.2, 1).map(({ track }) => track);
            return [numbers(frames), numbers(frames.slice(1, 3)), numbers([])];
        }"""
    )
    assert found == [[1], [1, 2], []]


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [(0, 0, "0:00"), (59.96, 1, "1:00.0"), (62.34, 1, "1:02.3"), (3599.6, 0, "1:00:00"), (7384, 0, "2:03:04")],
)
def test_time_is_written_as_players_do(empty: Any, seconds: float, decimals: int, text: str) -> None:
    asked = "async ([seconds, decimals]) => (await import('/clock.js')).clock(seconds, decimals)"
    assert empty.evaluate(asked, [seconds, decimals]) == text
