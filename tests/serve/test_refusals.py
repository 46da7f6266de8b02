"""Every limit and every error: the status, and problem details that say what to do."""

from __future__ import annotations

import time
from typing import Any

import pytest
from PIL import Image
from tests.serve.serving import SMALL, Served, encoded, until

BOUNDARY = "multipart/form-data; boundary=x"


def check(answer: Any, status: int, kind: str, words: str = "") -> dict[str, Any]:
    """`answer` is a problem of this kind."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:apvit:problem:{kind}"
    assert body["status"] == status
    assert body["title"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert words in body["detail"]
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return body


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "words"),
    [
        ("GET", "/nothing", 404, "not-found", "there is nothing at /nothing"),
        ("GET", "/docs", 404, "not-found", ""),
        ("GET", "/v1/recognize", 405, "method-not-allowed", "does not take GET"),
        ("OPTIONS", "/v1/recognize", 405, "method-not-allowed", ""),
        ("DELETE", "/healthz", 405, "method-not-allowed", ""),
        ("POST", "/v1/recognize", 415, "not-a-form", "multipart/form-data"),
        ("POST", "/v1/explain", 415, "not-a-form", ""),
    ],
)
def test_what_is_not_there(served: Served, method: str, path: str, status: int, kind: str, words: str) -> None:
    answer = served.client.request(method, path)
    check(answer, status, kind, words)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": "much"}, "keep: 'much' is no keep setting"),
        ({"keep": "0.5:1"}, "does not fit"),
        ({"keep": "1000"}, "does not fit"),
        ({"min_probability": "nan"}, "min_probability"),
        ({"min_probability": 2}, "less than or equal to 1"),
        ({"max_faces": 0}, "max_faces"),
        ({"max_faces": 3}, "at most 2"),
        ({"min_face": 1}, "min_face"),
        ({"min_face": "inf"}, "min_face"),
        ({"detector": "retina"}, "detector"),
        ({"detector": "yunet"}, "finds faces with mtcnn"),
        ({"detector": "none", "min_face": 50}, "leave min_face out"),
        ({"wieghts": "/etc/passwd"}, "wieghts"),
    ],
)
def test_options_that_do_not_fit(served: Served, photo: bytes, options: dict[str, Any], words: str) -> None:
    body = check(served.post(photo, **options), 422, "options", words)
    assert "passwd" not in str(body)


@pytest.mark.parametrize(
    ("content_type", "body", "status", "kind"),
    [
        ("image/png", b"x", 415, "not-a-form"),
        ("multipart/form-data", b"x", 400, "malformed-form"),
        (f"multipart/form-data; boundary={'x' * 500}", b"x", 400, "malformed-form"),
        (BOUNDARY, b"", 400, "malformed-form"),
        (BOUNDARY, b"nonsense", 400, "malformed-form"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="picture"\r\n\r\ncut', 400, "malformed-form"),
        (BOUNDARY, b"--x\r\n" + b"a: b\r\n" * 50 + b"\r\n\r\n--x--\r\n", 400, "malformed-form"),
        (BOUNDARY, b"--x--\r\n", 422, "no-picture"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttp://a\r\n--x--', 422, "unknown-part"),
        (BOUNDARY, b"--x\r\nNothing: here\r\n\r\nabc\r\n--x--\r\n", 422, "unknown-part"),
    ],
)
def test_bodies_that_are_no_forms_of_pictures(
    served: Served, content_type: str, body: bytes, status: int, kind: str
) -> None:
    check(served.client.post("/v1/recognize", content=body, headers={"Content-Type": content_type}), status, kind)


def test_a_part_needs_no_file_name(served: Served, photo: bytes) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="picture"\r\n\r\n' + photo + b"\r\n--x--\r\n"
    answer = served.client.post("/v1/recognize", content=body, headers={"Content-Type": BOUNDARY})
    assert answer.json()["results"][0]["source"] == "picture 1"


def test_body_bytes(served: Served) -> None:
    check(served.post(bytes(SMALL.limits.body_bytes)), 413, "body-too-large", "more than 2,000,000 bytes")


def test_body_bytes_are_counted_where_nobody_says_how_many_there_are(served: Served) -> None:
    sent = 0

    def endless():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="picture"\r\n\r\n'
        for _ in range(100):
            sent += 1
            yield bytes(100_000)
        yield b"\r\n--x--\r\n"

    answer = served.client.post("/v1/recognize", content=endless(), headers={"Content-Type": BOUNDARY})
    check(answer, 413, "body-too-large")
    assert served.service.memory.held == 0


def test_pictures_per_request(served: Served, photo: bytes) -> None:
    assert served.post(*[photo] * 4).status_code == 200
    check(served.post(*[photo] * 5), 413, "too-many-pictures", "more than 4 pictures")


def test_pixels_are_counted_before_decoding(served: Served) -> None:
    huge = encoded(Image.new("1", (10_000, 10_000)))  # 100 million pixels in a file of 13 kB
    start = time.monotonic()
    body = check(served.post(("huge.png", huge)), 422, "no-usable-picture", "10,000 x 10,000 pixels")
    assert time.monotonic() - start < 2
    assert body["results"][0]["source"] == "huge.png"


def test_faces_per_picture(served: Served, crowd: bytes, photo: bytes) -> None:
    check(
        served.post(crowd),
        422,
        "no-usable-picture",
        "ask for the largest with max_faces=2",
    )
    assert len(served.post(crowd, max_faces=1).json()["results"][0]["faces"]) == 1
    check(served.post(crowd, path="/v1/explain"), 422, "no-usable-picture", "more than 2 faces")


def test_the_queue(served: Served, photo: bytes) -> None:
    """Beyond its length a request is refused at once, before its body; those who wait are answered in the end."""
    with served.stopped_worker():
        accepted = [served.post_later(photo)]
        until(lambda: served.service.batcher._working == 1)
        for number in range(3):
            accepted.append(served.post_later(photo))
            until(lambda: served.metric("apvit_waiting_requests") == number + 1)  # noqa: B023
        start = time.monotonic()
        check(served.post(photo), 429, "queue-full", "with 3 requests waiting")
        assert time.monotonic() - start < 0.5
        assert served.client.get("/healthz").status_code == 200
    assert [one.result().status_code for one in accepted] == [200] * 4


def test_the_memory_of_uploads(served: Served, photo: bytes) -> None:
    large = photo + bytes(1_900_000 - len(photo))
    with served.stopped_worker():
        accepted = [served.post_later(large) for _ in range(2)]
        until(lambda: served.service.memory.held >= 3_800_000)
        check(served.post(large), 503, "uploads-full", "of the 5,000,000 bytes allowed")
    assert [one.result().status_code for one in accepted] == [200] * 2
    until(lambda: served.service.memory.held == 0)


def test_request_ids(served: Served) -> None:
    assert served.client.get("/healthz", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    for odd in ("a b", "x" * 65, '"}'):
        given = served.client.get("/healthz", headers={"X-Request-ID": odd}).headers["x-request-id"]
        assert len(given) == 32
