"""What a figure says of the machine it was made on."""

from __future__ import annotations

import json
import sys

import pytest

from apvit.machine import core_count, describe_machine, thread_count


def test_the_machine_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(sys, "argv", ["/somebody/bin/apvit", "evaluate", "--data", "/somebody/faces"])
    machine = describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert (machine["command"], machine["omp_num_threads"]) == ("apvit evaluate --data faces", "3")
    assert machine["cores"] == core_count() >= 1
    assert machine["processor"]
    assert machine["packages"]["apvit"]


@pytest.mark.parametrize(("value", "threads"), [("", 0), ("2", 2), ("two", 0), ("-1", 0)])
def test_threads_that_are_allowed(value: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_count() == threads
