"""The pipeline's mechanics, with stages whose results show how they were called."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.recognition import pipeline
from apvit.recognition.pipeline import QUEUED, FaceOutput, Pipeline, Prepared
from apvit.recognition.profile import Profile
from apvit.recognition.results import Face, Recognition

SHORT = 0.002


def prepare(source: tuple[int, int, bool]) -> Prepared:
    """A source is (its number, its faces, whether it can be read); odd numbers take longer."""
    number, faces, good = source
    time.sleep(SHORT * (number % 2))
    if not good:
        return Prepared(Recognition(source, None, None, [], ValueError("bad")), [])
    picture = np.zeros((10, 10, 3), np.uint8)
    crops = [np.full((2, 2, 3), 16 * (number % 16) + i, np.uint8) for i in range(faces)]
    return Prepared(Recognition(source, 10, 10, [], None, picture), list(enumerate(crops)))


def classify(crops: Sequence[Any]) -> list[FaceOutput]:
    """The probability tells which face it was, the patches how many shared its batch."""
    return [(float(crop[0, 0, 0]) / 256, np.arange(len(crops)), crop) for crop in crops]


def finish(prepared: Prepared, outputs: Sequence[FaceOutput]) -> Recognition:
    if prepared.recognition.error is not None:
        return prepared.recognition
    faces = []
    for _, (probability, patches, _) in zip(prepared.framed, outputs, strict=True):
        high = max(probability, 1 - probability)
        names = {"anger": probability, "fear": 1 - probability}
        faces.append(Face((0, 0, 1, 1), None, None, None, high, names, patches))
    return replace(prepared.recognition, faces=faces)


def run(
    sources: Iterable[Any],
    workers: int = 2,
    batch_size: int = 4,
    *,
    prepare: Callable[[Any], Prepared] = prepare,
    classify: Callable[[Sequence[Any]], list[FaceOutput]] = classify,
    profile: Profile | None = None,
) -> Iterator[Recognition]:
    profile = profile or Profile()
    return Pipeline(prepare, classify, finish, workers=workers, batch_size=batch_size, profile=profile).run(sources)


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("apvit")]


pictures = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([True, True, False])), max_size=40)


@settings(max_examples=40, deadline=None)
@given(pictures, st.integers(2, 5), st.integers(1, 6))
def test_workers_change_neither_order_nor_results_nor_batches(
    found: list[tuple[int, bool]], workers: int, batch_size: int
) -> None:
    sources = [(number, faces, good) for number, (faces, good) in enumerate(found)]
    alone = list(run(sources, 1, batch_size))
    together = list(run(iter(sources), workers, batch_size))
    assert [one.source for one in together] == [one.source for one in alone] == sources
    for one, other, (_, faces, good) in zip(alone, together, sources, strict=True):
        assert (other.error is None, len(other.faces)) == (good, faces if good else 0)
        assert one.faces == other.faces  # and with them the sizes of the batches
        for face in other.faces:
            assert face.patches is not None
            assert len(face.patches) <= batch_size
    assert not own_threads()


def test_faces_of_different_pictures_share_batches() -> None:
    profile = Profile()
    found = list(run(((i, 1, True) for i in range(200)), batch_size=8, profile=profile))
    sizes = [len(face.patches) for one in found for face in one.faces if face.patches is not None]
    assert sizes[0] == 1  # the first result does not wait
    assert sizes[40:-16] == [8] * 144
    assert (profile.pictures, profile.faces) == (200, 200)
    assert profile.elapsed > 100 * SHORT / 2


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_an_endless_source_is_taken_no_further_than_needed(workers: int) -> None:
    taken = 0

    def endless() -> Iterator[tuple[int, int, bool]]:
        nonlocal taken
        for taken in itertools.count(1):
            yield (taken, 1, True)

    results = run(endless(), workers, 4)
    next(results)
    assert taken == 1
    for given_out in range(2, 120):
        next(results)
        assert taken <= given_out + 2 * 2 * 4 + QUEUED * workers + 1
    results.close()
    assert not own_threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_large_pictures_are_held_a_few_at_a_time(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "WINDOW_PIXELS", 200)
    monkeypatch.setattr(pipeline, "FLIGHT_PIXELS", 600)
    taken = 0

    def sources() -> Iterator[tuple[int, int, bool]]:
        nonlocal taken
        for taken in range(1, 61):
            yield (taken, 1, True)

    for number, found in enumerate(run(sources(), workers, 16), 1):
        time.sleep(SHORT)  # a slow caller
        assert taken <= number + 6 + QUEUED * workers
        assert found.faces[0].patches is not None
        assert len(found.faces[0].patches) <= 2  # a window's pictures: two of 100 pixels


def test_one_picture_starts_no_thread() -> None:
    here = threading.get_ident()
    where: list[int] = []

    def noting(source: Any) -> Prepared:
        where.append(threading.get_ident())
        return prepare(source)

    list(run([(0, 1, True)], 4, prepare=noting))
    assert where == [here]
    list(run([(0, 1, True)] * 3, 4, prepare=noting))
    assert where[1] == here
    assert here not in where[2:]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("where", ["sources", "prepare", "classify"])
def test_an_error_comes_after_the_results_before_it(workers: int, where: str) -> None:
    def sources() -> Iterator[tuple[int, int, bool]]:
        for number in range(100):
            if where == "sources" and number == 20:
                raise RuntimeError("no more")
            yield (number, 1, True)

    def breaking(source: tuple[int, int, bool]) -> Prepared:
        if where == "prepare" and source[0] == 20:
            raise RuntimeError("no more")
        return prepare(source)

    def failing(crops: Sequence[Any]) -> list[FaceOutput]:
        if where == "classify" and len(crops) == 4:
            raise RuntimeError("no more")
        return classify(crops)

    numbers: list[int] = []
    with pytest.raises(RuntimeError, match="no more"):
        numbers.extend(found.source[0] for found in run(sources(), workers, prepare=breaking, classify=failing))
    # Windows are of 1, 2, 4 and 8 pictures; the third fills a pass of four faces.
    assert numbers == list(range(3 if where == "classify" else 20))
    assert not own_threads()


def test_closing_waits_for_no_more_than_is_begun() -> None:
    done = 0

    def slow(source: Any) -> Prepared:
        nonlocal done
        time.sleep(0.05)
        done += 1
        return prepare(source)

    results = run(((i, 1, True) for i in itertools.count()), 2, 16, prepare=slow)
    for _ in range(4):
        next(results)
    before = done
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 1
    assert done <= before + 2
    assert not own_threads()


def test_workers_share_torchs_threads_and_leave_the_callers_alone() -> None:
    import torch

    seen: list[int] = []

    def noting(source: Any) -> Prepared:
        seen.append(torch.get_num_threads())
        return prepare(source)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        list(run([(i, 1, True) for i in range(9)], 2, prepare=noting))
        assert (seen[0], set(seen[1:])) == (4, {2})
        assert torch.get_num_threads() == 4
        elsewhere: list[int] = []
        thread = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert elsewhere == [4]
    finally:
        torch.set_num_threads(before)
