"""`apvit doctor`: every failure is a line, advice follows the figures. No speed is asserted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from apvit.cli import main
from apvit.cli.doctor import Finding, busy, check_packages, check_threads, examine
from apvit.cli.doctor_speed import advise, check_speed
from apvit.engines.timing import Spread, Timing


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *arguments])
    return stop.value.code or 0, capsys.readouterr().out  # type: ignore[return-value]


def test_lines_and_json_where_all_is_well(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    status, out = run(["--seconds", "0"], capsys)
    assert status == 0
    for text in ("processor", "threads", "torch", "[train]", "apvit_tiny.ferplus", "MTCNN", "YuNet", "hub cache"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 90
    status, out = run(["--seconds", "0", "--json"], capsys)
    report = json.loads(out)
    assert status == 0
    assert {finding["state"] for finding in report["findings"]} <= {"ok", "note"}
    assert report["machine"]["cores"] >= 1
    assert report["timings"] == []


def test_a_broken_torch_is_lines_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # Python's own way to make an import fail
    status, out = run(["--json"], capsys)
    findings = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert status == 1
    assert findings["torch"]["state"] == "broken"
    assert "cannot be imported" in findings["torch"]["text"]
    assert all("\n" not in finding["text"] for finding in findings.values())
    assert {"YuNet", "hub cache"} & findings.keys()  # the checks after it went on


def test_a_failing_check_is_a_line_and_the_others_go_on() -> None:
    def first() -> Iterator[Finding]:
        yield Finding("a", "ok", "fine")
        raise RuntimeError("two\nlines")

    def second() -> Iterator[Finding]:
        raise KeyError
        yield

    def third() -> list[Finding]:
        return [Finding("c", "note", "so so")]

    assert list(examine({"1": first, "2": second, "3": third})) == [
        Finding("a", "ok", "fine"),
        Finding("1", "broken", "two"),
        Finding("2", "broken", "KeyError"),
        Finding("c", "note", "so so"),
    ]


@pytest.mark.parametrize(
    ("requirement", "name", "state", "text"),
    [
        ("numpy>=1", "packages", "ok", "numpy "),
        ("no-such-thing>=2", "no-such-thing", "broken", "is not installed: pip install 'no-such-thing>=2'"),
        ("numpy>=999", "numpy", "note", "is outside what apvit is tested with: pip install 'numpy>=999'"),
        ('numpy>=1; extra == "sums"', "[sums]", "ok", "numpy "),
        ('no-such-thing; extra == "sums"', "[sums]", "note", "pip install 'apvit[sums]' brings what is missing"),
    ],
)
def test_packages(requirement: str, name: str, state: str, text: str) -> None:
    (found,) = [one for one in check_packages([requirement]) if one.name == name]
    assert found.state == state
    assert text in found.text


def test_the_developers_extra_is_nobodys_lack() -> None:
    (only,) = check_packages(['no-such-thing; extra == "dev"'])
    assert only.name == "packages"


@pytest.mark.parametrize(
    ("value", "state", "text"),
    [
        (None, "ok", "not set"),
        ("4", "ok", "as many as"),
        ("1", "note", "idle"),
        ("8", "note", "more threads than cores"),
        ("many", "note", "is ignored"),
        ("0", "note", "is ignored"),
    ],
)
def test_threads(value: str | None, state: str, text: str) -> None:
    finding = check_threads(value, 4)
    assert finding.state == state
    assert text in finding.text


@pytest.mark.parametrize(("load", "said"), [(None, False), (0.1, False), (3.9, True)])
def test_a_busy_machine_is_said(load: float | None, said: bool) -> None:
    assert bool(busy({"load": load, "cores": 2})) is said


def timings(**ratios: tuple[float, float]) -> list[Timing]:
    """Of batches 1 and 32: each engine's speed as a multiple of the first's, quartiles 2 % around it."""
    return [
        Timing(name, batch, 9, Spread(1, 1, 1), 1000, Spread(both[i], both[i] * 0.98, both[i] * 1.02), None, None)
        for i, batch in enumerate((1, 32))
        for name, both in ratios.items()
    ]


@pytest.mark.parametrize(
    ("ratios", "cached", "state", "text"),
    [
        ({"torch": (1, 1)}, False, "note", "nothing to compare torch with"),
        ({"torch": (1, 1), "onnx": (0.8, 0.9)}, False, "ok", "nothing: torch"),
        ({"torch": (1, 1), "onnx": (1.04, 1)}, False, "ok", "nothing: torch"),
        ({"torch": (1, 1), "onnx": (2, 0.5)}, False, "ok", "nothing: torch"),
        ({"torch": (1, 1), "onnx": (1.7, 1.3)}, True, "ok", "nothing: onnx"),
        (
            *({"torch": (1, 1), "onnx": (1.7, 1.3)}, False, "note"),
            "run `apvit export apvit_tiny` once: onnx had 1.7 x (one by one) and 1.3 x (in batches of 32) the speed of "
            "torch here",
        ),
        (
            *({"torch": (1, 1), "onnx": (1.2, 1.2), "openvino": (1.8, 1.8)}, False, "note"),
            "run `apvit export apvit_tiny` once and give `apvit recognize` the option `--engine openvino`: openvino",
        ),
        (
            *({"torch": (1, 1), "onnx": (1.2, 1.2), "openvino": (1.8, 1.8)}, True, "note"),
            "give `apvit recognize` the option `--engine openvino`: openvino had 1.5 x",
        ),
        ({"torch": (1, 1), "onnx": (0.5, 0.5)}, True, "note", "the option `--engine torch`: torch had 2.0 x"),
        ({"onnx": (1, 1), "openvino": (2, 2)}, True, "note", "the option `--engine openvino`"),
        ({"torch": (1, 1), "openvino": (2, 2)}, False, "note", "run `apvit export apvit_tiny` once: openvino had 2.0"),
    ],
)
def test_advice(ratios: dict[str, tuple[float, float]], cached: bool, state: str, text: str) -> None:
    finding = advise(timings(**ratios), cached=cached)
    assert (finding.name, finding.state) == ("faster", state)
    assert finding.text.startswith(text) or text in finding.text


def test_measurement(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APVIT_CACHE", str(tmp_path))
    monkeypatch.setattr(import_module("apvit.cli.doctor_speed"), "WEIGHTS", str(weights))
    measured: list[Timing] = []
    findings = list(check_speed(0.1, measured))
    assert findings[0].name == f"{weights} on torch"
    assert "one by one" in findings[0].text
    assert findings[-1].name == "faster"
    assert {timing.batch for timing in measured} == {1, 32}
