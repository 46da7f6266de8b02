"""Requests that come together are looked at together, and a worker that dies or hangs costs nobody an answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from PIL import Image
from tests.serve.serving import SMALL, Served, encoded, serving, until

from apvit.serve.inference import Recognizers
from apvit.serve.messages import Asked, Upload
from apvit.serve.options import Options
from apvit.serve.service import Service
from apvit.serve.settings import Limits, Network, Settings
from apvit.serve.worker import WorkerError


@pytest.fixture
def mended(served: Served) -> Iterator[Served]:
    """A service whose worker is there before and after the test."""
    yield served
    until(lambda: served.service.batcher.ready, 60)


def test_requests_share_a_batch(served: Served, photo: bytes) -> None:
    """What came while the worker was busy goes to it together, options or not; each gets its own answer."""
    with served.stopped_worker():
        first = served.post_later(photo)
        until(lambda: served.service.batcher._working == 1)
        batches = served.metric("apvit_batch_pictures_count")
        waiting = [served.post_later(photo), served.post_later(photo), served.post_later(photo, detector="none")]
        until(lambda: served.metric("apvit_waiting_requests") == 3)
    assert first.result().json()["batch_pictures"] == 1
    bodies = [one.result().json() for one in waiting]
    assert served.metric("apvit_batch_pictures_count") == batches + 1
    assert [body["batch_pictures"] for body in bodies] == [2, 2, 1]
    assert bodies[0]["results"] == bodies[1]["results"] == first.result().json()["results"]
    assert bodies[2]["results"][0]["faces"][0]["landmarks"] is None


def test_requests_at_the_same_time_wait_for_each_other(served: Served, photo: bytes) -> None:
    """By milliseconds: nobody is working, and the first waits for others."""
    shared = 0
    for _ in range(5):
        futures = [served.post_later(photo) for _ in range(2)]
        shared = max(one.result().json()["batch_pictures"] for one in futures)
        if shared == 2:
            break
    assert shared == 2


def test_a_killed_worker_is_mended_while_requests_wait(mended: Served, photo: bytes) -> None:
    losses = mended.metric("apvit_worker_losses_total")
    with mended.stopped_worker() as pid:
        waiting = [mended.post_later(photo)]
        until(lambda: mended.service.batcher._working == 1)
        waiting += [mended.post_later(photo) for _ in range(2)]
        until(lambda: mended.metric("apvit_waiting_requests") == 2)
        os.kill(pid, signal.SIGKILL)
        until(lambda: mended.client.get("/readyz").status_code == 503)
        assert mended.client.get("/readyz").headers["retry-after"]
        assert mended.client.get("/healthz").status_code == 200
    answers = [one.result() for one in waiting]
    assert [one.status_code for one in answers] == [200] * 3
    assert len({json.dumps(one.json()["results"]) for one in answers}) == 1
    assert mended.metric("apvit_worker_losses_total") == losses + 1
    assert mended.service.worker.pid != pid


def test_a_worker_killed_with_nothing_to_do_is_noticed(mended: Served, photo: bytes) -> None:
    pid = mended.service.worker.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: mended.service.batcher.ready and mended.service.worker.pid != pid, 60)
    assert mended.post(photo).status_code == 200


def test_a_request_that_costs_two_workers_is_refused_and_the_others_are_answered(
    mended: Served, portrait: Image.Image, photo: bytes
) -> None:
    long = [encoded(portrait.resize((770, 770)), "JPEG")] * 4  # time enough to kill who works on it
    with mended.stopped_worker() as pid:
        culprit = mended.post_later(*long)
        until(lambda: mended.service.batcher._working == 4)
        other = mended.post_later(photo)
        until(lambda: mended.metric("apvit_waiting_requests") == 1)
        os.kill(pid, signal.SIGKILL)
    until(lambda: mended.service.worker.pid not in (None, pid))
    second = mended.service.worker.pid
    until(lambda: mended.service.batcher._working == 4)
    assert second is not None
    os.kill(second, signal.SIGKILL)
    refused = culprit.result()
    assert refused.status_code == 500
    assert refused.json()["type"] == "urn:apvit:problem:worker-lost"
    assert other.result().status_code == 200


def test_a_worker_that_hangs_is_killed(photo: bytes) -> None:
    with serving(replace(SMALL, limits=replace(SMALL.limits, request_seconds=1.5))) as served:
        with served.stopped_worker() as pid:
            start = time.monotonic()
            answer = served.post(photo)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert time.monotonic() - start == pytest.approx(1.5, abs=1)
            until(lambda: served.service.batcher.ready and served.service.worker.pid != pid, 60)
        assert served.post(photo).status_code == 200


def test_a_request_whose_client_has_gone_is_not_worked_on(served: Served, photo: bytes) -> None:
    with served.stopped_worker():
        first = served.post_later(photo)
        until(lambda: served.service.batcher._working == 1)
        pictures = served.metric("apvit_batch_pictures_sum")
        with pytest.raises(httpx.ReadTimeout):
            served.client.post("/v1/recognize", files={"picture": ("a", photo)}, timeout=0.3)
        until(lambda: served.metric("apvit_requests_total", route="/v1/recognize", status="499") > 0)
    assert first.result().status_code == 200
    assert served.post(photo).status_code == 200
    assert served.metric("apvit_batch_pictures_sum") == pictures + 1


def test_weights_that_cannot_be_loaded_are_a_sentence() -> None:
    async def start() -> None:
        async with Service(Settings(Network("no_such_weights"))):
            pass

    with pytest.raises(WorkerError, match="no_such_weights"):
        asyncio.run(start())


def test_a_fault_in_the_worker_is_told_and_costs_only_its_own_request(photo: bytes) -> None:
    """Here by an option that the query would have refused."""
    uploads = [Upload("a", photo)]
    odd = Options(detector="none").model_copy(update={"min_probability": "much"})
    failed, good = Recognizers(Network(), Limits()).answer(
        [Asked(False, odd, uploads), Asked(False, Options(), uploads)]
    )
    assert "TypeError" in failed["failed"]
    assert len(good["results"][0]["faces"]) == 1
