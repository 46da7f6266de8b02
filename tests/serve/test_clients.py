"""Slow clients, broken clients and liars: they get what they deserve, and hold nobody up."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from tests.serve.serving import SMALL, Served, until

HEAD = (
    b"POST /v1/recognize HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 100000\r\n\r\n"
)
BEGUN = HEAD + b'--x\r\nContent-Disposition: form-data; name="picture"\r\n\r\nabc'


def connect(served: Served) -> socket.socket:
    url = urlsplit(served.url)
    assert url.hostname
    assert url.port
    return socket.create_connection((url.hostname, url.port), timeout=20)


def send_for_ever(connection: socket.socket, data: bytes) -> None:
    for _ in range(10_000):
        connection.sendall(data)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def test_slow_clients_hold_nobody_up(served: Served, photo: bytes) -> None:
    """More of them than may wait in the queue; they are told after `body_seconds`, and the connection ends."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(served)) for _ in range(30)]
        for one in slow:
            one.sendall(BEGUN)
        start = time.monotonic()
        assert served.post(photo).status_code == 200
        assert time.monotonic() - start < SMALL.limits.body_seconds
        end = time.monotonic() + 20
        slow[0].settimeout(0.1)
        answer = b""
        while time.monotonic() < end:  # byte by byte, as such clients do
            try:
                slow[0].sendall(b"x")
                if piece := slow[0].recv(65536):
                    answer += piece
                    continue
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert json.loads(body)["type"] == "urn:apvit:problem:body-too-slow"
        assert all(read_all(one).startswith(b"HTTP/1.1 408") for one in slow[1:])
    until(lambda: served.service.memory.held == 0)


def test_clients_that_break_off_leave_nothing_behind(served: Served, photo: bytes) -> None:
    gone = served.metric("apvit_requests_total", route="/v1/recognize", status="499")
    for part in (HEAD, BEGUN, BEGUN + b"\r\n--x"):
        with connect(served) as connection:
            connection.sendall(part)
            time.sleep(0.05)
    until(lambda: served.metric("apvit_requests_total", route="/v1/recognize", status="499") >= gone + 3)
    assert served.service.memory.held == 0
    assert served.post(photo).status_code == 200


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"]
)
def test_what_is_no_http_is_refused(served: Served, nonsense: bytes) -> None:
    with connect(served) as connection:
        connection.sendall(nonsense)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == "urn:apvit:problem:no-http"


def test_heads_that_do_not_end_are_cut_off(served: Served) -> None:
    """By seconds, said or unsaid; and by bytes."""
    start = time.monotonic()
    with connect(served) as silent, connect(served) as begun, connect(served) as again:
        begun.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
        again.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\n")
        assert read_all(silent) == b""
        assert read_all(begun) == b""
        assert read_all(again).count(b"HTTP/1.1 200") == 1
    assert SMALL.limits.body_seconds - 0.1 < time.monotonic() - start < 15
    with connect(served) as endless:
        endless.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            send_for_ever(endless, b"a: " + b"b" * 1000 + b"\r\n")


def test_a_refusal_reaches_a_client_that_is_still_sending(served: Served) -> None:
    with connect(served) as connection:
        connection.sendall(HEAD.replace(b"100000", b"900000000") + bytes(3_000_000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        with pytest.raises(ConnectionError):  # it need not go on for ever
            send_for_ever(connection, bytes(100_000))
