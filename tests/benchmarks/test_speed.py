"""The speed benchmarks: their arithmetic on made-up times, their mechanics on small networks. No speed is asserted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from apvit.engines import create_engine

Script = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def subjects(speed: Script) -> ModuleType:
    return speed("subjects")


@pytest.fixture(scope="module")
def engines(speed: Script) -> ModuleType:
    return speed("engines")


@pytest.fixture(scope="module")
def growth(speed: Script) -> ModuleType:
    return speed("growth")


@pytest.fixture(scope="module")
def peers(speed: Script) -> ModuleType:
    return speed("peers")


@pytest.fixture(scope="module")
def subject(subjects: ModuleType, weights: Path) -> Any:
    return subjects.Subject("apvit_small", weights, random=True)


def runners(subjects: ModuleType, *macs: int) -> list[Any]:
    names = (subjects.OFFICIAL, subjects.PLAIN, "torch")
    return [subjects.Runner(name, lambda x: None, work) for name, work in zip(names, macs, strict=True)]


class TestSubjects:
    def test_bundled_weights_where_there_are_any(self, subjects: ModuleType, tmp_path: Path) -> None:
        found = subjects.find_subject("apvit_tiny", tmp_path)
        assert not found.random
        assert found.weights.is_file()
        assert not list(tmp_path.iterdir())

    def test_random_weights_are_made_once(self, subjects: ModuleType, tmp_path: Path) -> None:
        path = subjects.random_weights(tmp_path / "w.safetensors", "apvit_tiny", image_size=32, patch_keep=0.5)
        again = subjects.random_weights(tmp_path / "again.safetensors", "apvit_tiny", image_size=32, patch_keep=0.5)
        assert path.read_bytes() == again.read_bytes()

    def test_the_official_formulation_executes_more(self, subjects: ModuleType, weights: Path) -> None:
        official, plain = subjects.open_eager(weights)
        assert official.macs > plain.macs
        x = np.zeros((1, 1, 48, 48), np.float32)
        np.testing.assert_allclose(official.run(x), plain.run(x), atol=1e-5)


class TestEngines:
    def test_a_measurement(
        self, engines: ModuleType, subjects: ModuleType, subject: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engines.peak, "SIDE", 64)
        ways = [*subjects.open_eager(subject.weights), subjects.open_engine(subject.weights, "torch")]
        taken = engines.time_runners(subject, ways, 2, 0.001)
        assert set(taken) == {subjects.OFFICIAL, subjects.PLAIN, "torch", "gemm"}
        rows = engines.summarise(subject, ways, 2, taken)
        record = json.loads(json.dumps(engines.finish(rows, taken["gemm"])))
        assert [row["engine"] for row in record["rows"]] == [way.name for way in ways]
        assert "apvit_small (random weights)" in engines.engines_table(record)

    def test_ratios_are_of_the_same_round_and_shares_of_the_best_product(
        self, engines: ModuleType, subjects: ModuleType, subject: Any
    ) -> None:
        side = engines.peak.SIDE
        ways = runners(subjects, side**3, side**3 // 2, side**3 // 2)
        # The machine is half as fast in the second of three rounds.
        taken = {subjects.OFFICIAL: [4.0, 8.0, 4.0], subjects.PLAIN: [3.0, 6.0, 3.0], "torch": [2.0, 4.0, 2.0]}
        record = engines.finish(engines.summarise(subject, ways, 4, taken), [1.0, 2.0, 1.0])
        assert record["peak_gflops"] == pytest.approx(2 * side**3 / 1e9)
        row = record["rows"][2]
        assert row["ms_per_face"]["median"] == 500
        assert row["faces_per_second"] == 2
        assert row["times_official"] == {"median": 2, "low": 2, "high": 2}
        assert row["times_plain"] == {"median": 1.5, "low": 1.5, "high": 1.5}
        assert row["of_peak"] == pytest.approx(1)  # two faces of half the product, per second

    def test_targets_take_the_fastest(self, engines: ModuleType) -> None:
        def row(engine: str, batch: int, rate: float, times_plain: float) -> dict[str, Any]:
            ms, ratio = {"median": 1000 / rate}, {"median": times_plain}
            base = {"subject": "apvit_tiny", "batch": batch, "engine": engine, "of_peak": 0.5}
            return {**base, "faces_per_second": rate, "ms_per_face": ms, "times_plain": ratio}

        found = engines.targets([row("torch", 1, 150.0, 1.2), row("onnx", 1, 250.0, 2.0), row("torch", 32, 190.0, 1.1)])
        assert [(one["what"], one["engine"], one["measured"], one["met"]) for one in found] == [
            ("faces per second", "torch", 190.0, False),
            ("ms per face", "onnx", 4.0, True),
            ("times plain eager torch", "onnx", 2.0, True),
        ]
        assert "| at most 5 " in engines.targets_table({"targets": found})


def test_pooling(speed: Script, subjects: ModuleType, subject: Any) -> None:
    pooling = speed("pooling")
    on, off = (
        [subjects.open_engine(subject.weights, "torch", keep)] for keep in (None, subjects.no_pooling(subject.weights))
    )
    taken = pooling.time_both(subject, on, off, 1, 0.001)
    assert set(taken) == {"torch on", "torch off"}
    (row,) = pooling.summarise(subject, on, off, 1, {"torch on": [0.5, 1.5], "torch off": [1.0, 2.0]})
    assert row["time_saved"]["median"] == pytest.approx((0.5 + 0.25) / 2)
    assert row["compute_saved"] == pytest.approx(1 - on[0].macs / off[0].macs)
    assert 0 < row["compute_saved"] < 1
    assert "37.5 % (" in pooling.pooling_table({"rows": [row]})


class TestInt8:
    @pytest.fixture
    def int8(self, speed: Script) -> ModuleType:
        return speed("int8")

    def test_both_take_turns_and_ratios_are_of_the_same_round(self, int8: ModuleType, weights: Path) -> None:
        engine = create_engine(weights, "torch", "cpu")
        taken = int8.time_both({"onnx": {"float32": engine, "int8": engine}}, 2, 0.001)
        assert set(taken) == {"onnx float32", "onnx int8"}
        (row,) = int8.summarise({"onnx float32": [4.0, 8.0, 4.0], "onnx int8": [2.0, 4.0, 2.0]}, 4)
        assert (row["ms_per_face_float32"]["median"], row["ms_per_face_int8"]["median"]) == (1000, 500)
        assert row["times_float32"] == {"median": 2, "low": 2, "high": 2}

    @pytest.mark.slow
    def test_from_faces_to_the_page(
        self, int8: ModuleType, two_people: Path, tmp_path: Path, figures: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = tmp_path / "int8.json"
        given = ["--data", str(two_people), "--seconds", "0.001", "--output", str(output)]
        monkeypatch.setattr(sys, "argv", ["int8.py", *given])
        int8.main()
        record = figures.pages.read_results(tmp_path)["int8"]
        assert not [row for row in record["engines"].values() if "speed_here" in row]
        assert {row["engine"] for row in record["rows"]} == set(record["engines"])
        assert record["bytes"]["int8"] < record["bytes"]["float32"]
        assert str(tmp_path) not in output.read_text()
        text = figures.pages.for_users({"int8": record})
        assert "calibrated on 40 faces of FER+ training" in text
        assert "Accuracy is on the 40 faces of FER+ validation." in text


class TestGrowth:
    def test_fits(self, growth: ModuleType) -> None:
        line = growth.fit([(x, 3 + 2 * x) for x in (0, 1, 5)], "line")
        assert (line["a"], line["b"], line["r2"]) == pytest.approx((3, 2, 1))
        assert growth.fitted(line, 10) == pytest.approx(23)
        power = growth.fit([(x, 0.5 * x**1.5) for x in (1, 2, 8)], "power")
        assert (power["c"], power["exponent"], power["r2"]) == pytest.approx((0.5, 1.5, 1))
        assert growth.fitted(power, 4) == pytest.approx(4)
        assert (growth.describe_fit(line), growth.describe_fit(power)) == ("3 + 2 x", "0.5 x^1.50")
        assert growth.describe_fit({"a": 3.0, "b": -0.25, "r2": 0.9}) == "3 − 0.25 x"
        assert growth.describe_fit({"a": 3.0, "b": -0.25, "r2": 0.5}) == "none: the points scatter"

    def test_an_axis_and_its_picture(self, growth: ModuleType) -> None:
        axis = growth.Axis("batch", "faces at once", "ms per call", 2, "line", growth.by_batch)
        calls = {engine: {x: (lambda: None) for x in (1, 2, 4)} for engine in ("torch", "onnx")}
        measured = growth.measure_axis(axis, calls, 0.0001)
        assert [point["x"] for point in measured["curves"]["onnx"]["points"]] == [1, 2, 4]
        record = json.loads(json.dumps({"architecture": "apvit_tiny", "axes": [measured] * 5}))
        figure = growth.draw(record)
        assert [axes.get_visible() for axes in figure.axes] == [True] * 5 + [False]
        assert growth.growth_table(record).count("\n") == 1 + 2 * 5


class TestPeers:
    def test_a_crowd_has_a_size(self, speed: Script) -> None:
        with pytest.raises(ValueError, match="33 squares of 240 px do not fit"):
            speed("pictures").crowd(33, 240)

    def test_medians_of_repetitions_then_of_processes(self, peers: ModuleType) -> None:
        def report(seconds: list[float], cold: float) -> dict[str, Any]:
            return {"cold_seconds": cold, "seconds": {"x/a.png": seconds}, "faces": {"x/a.png": 4}, "peak_bytes": 2**20}

        summary = peers.summarise([report([1.0, 2.0, 9.0], 3.0), report([4.0, 4.0, 4.0], 5.0)])
        assert summary["cold_seconds"]["median"] == 4
        assert summary["seconds_per_picture"]["median"] == 3
        assert summary["faces_per_second"]["median"] == 1.5
        assert summary["peak_mib"] == 1

    def test_what_cannot_be_installed_is_a_reason(self, peers: ModuleType, tmp_path: Path) -> None:
        """An environment whose Python fails at everything."""
        python = tmp_path / "bin" / "python"
        python.parent.mkdir()
        python.write_text("#!/bin/sh\necho 'no room left' >&2\nexit 3\n")
        python.chmod(0o755)
        assert peers.install("fer==1", tmp_path) == "fer==1: no room left"


class TestAll:
    def test_only_what_is_there(self, speed: Script, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
        monkeypatch.setattr(sys, "argv", ["all.py", "engines", "magic"])
        with pytest.raises(SystemExit) as stop:
            speed("all").main()
        assert stop.value.code == 2
        assert "there is no benchmark magic; known are engines, pooling" in capsys.readouterr().err

    def test_weights_and_exports_are_shared(self, speed: Script) -> None:
        everything = speed("all")
        assert everything.command("growth", "somewhere")[-2:] == ["--folder", "somewhere"]
        assert int(everything.environment()["OMP_NUM_THREADS"]) > 0

    def test_every_script_takes_what_all_give_it_and_is_explained(self, speed: Script) -> None:
        everything = speed("all")
        scripts = [everything.HERE / f"{name}.py" for name in everything.NAMES]
        for script in filter(Path.exists, scripts):
            assert f'options(__doc__, "{script.stem}"' in script.read_text(), "it takes --folder and --output"
            assert f"`{script.name}`" in (everything.HERE / "README.md").read_text()


def test_records_are_written_whole(speed: Script, tmp_path: Path) -> None:
    records = speed("records")
    made = records.machine()
    assert made["memory_gib"] > 0.1
    assert {"date", "command", "commit", "processor", "cores", "packages"} <= set(made)
    assert {"torch", "onnxruntime", "numpy"} <= set(made["packages"])
    path = tmp_path / "x.json"
    records.write_record(path, {"machine": made})
    assert json.loads(path.read_text()) == {"machine": made}
    with pytest.raises(TypeError):
        records.write_record(path, {"machine": object()})
    assert json.loads(path.read_text()) == {"machine": made}
    assert list(tmp_path.iterdir()) == [path]


class TestPages:
    @pytest.fixture
    def results(self, speed: Script) -> dict[str, Any]:
        def row(subject: str, batch: int, engine: str, ms: float) -> dict[str, Any]:
            quartiles, ratio = {"median": ms, "low": ms, "high": ms}, {"median": 10 / ms}
            return {
                "subject": subject,
                "random": subject == "apvit_base",
                "batch": batch,
                "engine": engine,
                "ms_per_face": quartiles,
                "faces_per_second": 1000 / ms,
                "times_official": ratio,
                "times_plain": ratio,
                "of_peak": 0.5,
            }

        cases = [("apvit_tiny", 1), ("apvit_tiny", 32), ("apvit_base", 1), ("apvit_base", 8)]
        ways = {"official, eager": 10.0, "ours, eager": 1.0, "torch": 8.0, "onnx": 4.0}
        made = {
            "date": "2026-01-02T03:04:05+00:00",
            "processor": "abacus",
            "cores": 2,
            "memory_gib": 8.0,
            "commit": "c" * 40,
            "packages": {"torch": "2.0", "openvino": None},
        }
        rows = [row(*case, way, ms) for case in cases for way, ms in ways.items()]
        return {"engines": {"rows": rows, "peak_gflops": 180.0, "gemm_side": 2048, "targets": [], "machine": made}}

    @pytest.fixture
    def pages(self, figures: ModuleType) -> ModuleType:
        module = figures.pages
        assert isinstance(module, ModuleType)
        return module

    def test_nothing_measured(self, pages: ModuleType, tmp_path: Path) -> None:
        assert pages.read_results(tmp_path) == {}
        assert pages.every_table({}) == pages.for_users({}) == "Not measured yet."
        assert pages.in_two_lines({}) is None

    def test_beside_fer(self, pages: ModuleType, results: dict[str, Any]) -> None:
        measured = (
            ("apvit, onnx", 50, 0.4),
            ("apvit, onnx, as fer", 80, 0.4),
            ("fer, Haar", 70, 3),
            ("fer, MTCNN", 60, 4),
        )
        contenders = [
            {"name": name, "faces_per_second": {"median": rate}, "cold_seconds": {"median": cold}}
            for name, rate, cold in measured
        ]
        text = pages.in_two_lines({**results, "peers": {"contenders": contenders}})
        assert "recognises 50 faces per second, or 80 where it seeks none below 50 px" in text
        assert "60 to 70; its first answer comes 0.4 s after the start, that of `fer` 3.0 to 4.0 s." in text
        absent = [*contenders[:2], {"name": "fer", "reason": "not installed"}]
        assert "fer" not in pages.in_two_lines({**results, "peers": {"contenders": absent}})

    def test_engines(self, pages: ModuleType, results: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "engines.json").write_text(json.dumps(results["engines"]))
        results = pages.read_results(tmp_path)
        text = pages.in_two_lines(results)
        # A baseline that happens to be fast is no engine.
        assert "`apvit_tiny` names 250 faces per second (ONNX Runtime), a single one in 4.00 ms" in text
        assert "the paper's model takes 4.00 ms per face, 2.50 times as fast" in text
        assert "2026-01-02, abacus, 2 cores, 8 GiB; torch 2.0; commit cccccccccc." in pages.every_table(results)
        assert "| apvit_base (random weights) | 1 " in pages.every_table(results)
        users = pages.for_users(results)
        assert [line.split("|")[1:3] for line in users.splitlines() if line.startswith("| `")] == [
            [" `apvit_tiny` ", " torch        "],
            [" `apvit_tiny` ", " ONNX Runtime "],
            [" `apvit_base` ", " torch        "],
            [" `apvit_base` ", " ONNX Runtime "],
        ]
