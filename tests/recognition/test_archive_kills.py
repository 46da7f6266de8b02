"""Nothing is lost and nothing doubled when a worker, a machine or the driver is killed with SIGKILL."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from PIL import Image

from apvit.recognition.archive import Archive, ArchiveError

pytestmark = pytest.mark.slow

PICTURES, BAD_EVERY, SHARD = 600, 50, 60
OPTIONS = {"detector": "none", "device": "cpu"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of faces of noise, every 50th of which is no picture."""
    encoded = []
    for seed in range(10):
        file = io.BytesIO()
        noise = np.random.default_rng(seed).integers(0, 256, (240, 240, 3), np.uint8)
        Image.fromarray(noise).save(file, "PNG")
        encoded.append(file.getvalue())
    path = tmp_path_factory.mktemp("pictures") / "faces.parquet"
    column = [b"bad" if i % BAD_EVERY == 0 else encoded[i % 10] for i in range(PICTURES)]
    pq.write_table(pa.table({"image": column}), path, row_group_size=100)
    return path


@pytest.fixture
def archive(pictures: Path, weights: Path, tmp_path: Path) -> Archive:
    return Archive([str(pictures)], str(tmp_path / "out"), shard_size=SHARD, weights=str(weights), options=OPTIONS)


def check(pictures: Path, output: Path) -> None:
    """Every input stands in the output exactly once, as what it is."""
    assert {path.name for path in output.iterdir()} == {
        *(f"part-{number:06d}.parquet" for number in range(PICTURES // SHARD)),
        "_manifest.json",
    }
    rows = ds.dataset(output).to_table(columns=["source", "face", "error"]).to_pylist()
    assert Counter(row["source"] for row in rows) == {f"{pictures}#{i}": 1 for i in range(PICTURES)}
    bad = {row["source"] for row in rows if row["error"] is not None}
    assert bad == {f"{pictures}#{i}" for i in range(0, PICTURES, BAD_EVERY)}
    assert all((row["face"] is None) == (row["source"] in bad) for row in rows)


def test_a_worker(archive: Archive, pictures: Path, tmp_path: Path) -> None:
    workers: set[int] = set()
    reports = 0
    for report in archive.run("local", workers=2):
        reports += 1
        workers.add(report.pid)
        if reports == 3:  # one has just finished a shard, the other is in the middle of one
            killed = set(workers)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
    assert reports == PICTURES // SHARD
    assert workers > killed
    check(pictures, tmp_path / "out")


@pytest.fixture
def two_machines() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_health_check_failure_threshold", "2")
        head = {"num_cpus": 0, "object_store_memory": 80 << 20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(2)]
        cluster.wait_for_nodes()
        yield cluster, nodes
        ray.shutdown()
        cluster.shutdown()


def test_a_machine(archive: Archive, two_machines: Any, pictures: Path, tmp_path: Path) -> None:
    cluster, nodes = two_machines
    reports = 0
    for _ in archive.run(cluster.address):
        reports += 1
        if reports == 3:
            cluster.remove_node(nodes[0], allow_graceful=False)
    assert reports == PICTURES // SHARD
    check(pictures, tmp_path / "out")


def test_the_driver(pictures: Path, weights: Path, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-c", "from apvit.cli import main; main()", "recognize", str(pictures), "--ray", "local"),
        *("--output", str(tmp_path / "out"), "--shard-size", str(SHARD), "--weights", str(weights)),
        *("--detector", "none", "--device", "cpu", "--workers", "1"),
    ]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (done := sorted((tmp_path / "out").glob("part-*.parquet"))):
        assert first.poll() is None, first.stderr and first.stderr.read()
        time.sleep(0.05)
    first.kill()
    first.wait()
    before = {path: path.stat().st_mtime_ns for path in done}
    assert len(before) < PICTURES // SHARD
    second = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert second.returncode == 1, second.stderr  # some inputs are no pictures
    assert "600 pictures in 10 shards of 60, of which" in second.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    check(pictures, tmp_path / "out")
    third = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert third.returncode == 0
    assert "of which 10 are finished\n0 pictures" in third.stderr
    other = subprocess.run([*command, "--shard-size", "7"], stderr=subprocess.PIPE, text=True, check=False)
    assert other.returncode == 1
    assert "another job (shard size 60 there and 7 here)" in other.stderr


def test_what_loading_raises_ends_the_job_in_a_sentence(pictures: Path, weights: Path, tmp_path: Path) -> None:
    archive = Archive(
        [str(pictures)], str(tmp_path), weights=str(weights), options={"detector": "none", "min_face": 30}
    )
    with pytest.raises(ValueError, match="the detector 'none' searches for no faces") as caught:
        list(archive.run("local", workers=1))
    assert type(caught.value).__name__ == "RecognizerError"


def test_no_cluster(archive: Archive) -> None:
    with pytest.raises(ArchiveError, match=r"no Ray cluster answers at 'auto' .*name 'local', which is this machine"):
        list(archive.run("auto"))


def test_an_address_where_something_else_answers(archive: Archive) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        with pytest.raises(ArchiveError, match="there is no answer within 20 seconds"):
            list(archive.run(f"127.0.0.1:{server.getsockname()[1]}"))
        assert time.monotonic() - start < 30


def children(pid: int) -> dict[str, int]:
    """The processes that a process started, by name."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {Path(f"/proc/{child}/comm").read_text().strip(): int(child) for child in pids}


@pytest.mark.parametrize("killed", ["raylet", "gcs_server", "the process that drives Ray"])
def test_ray_itself(killed: str, pictures: Path, weights: Path, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-c", "from apvit.cli import main; main()", "recognize", str(pictures), "--ray", "local"),
        *("--output", str(tmp_path / "out"), "--shard-size", "10", "--weights", str(weights)),
        *("--device", "cpu", "--workers", "1"),
    ]
    # Ray's own times are 60 and 20 seconds.
    sooner = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5", "RAY_health_check_period_ms": "1000"}
    environment = os.environ | sooner | {"RAY_health_check_failure_threshold": "2"}
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while not list((tmp_path / "out").glob("part-*.parquet")):
        assert job.poll() is None, job.stderr and job.stderr.read()
        time.sleep(0.05)
    (driver,) = children(job.pid).values()
    os.kill(children(driver).get(killed, driver), signal.SIGKILL)
    out, err = job.communicate(timeout=90)
    said = err.splitlines()
    assert (job.returncode, out, len(said)) == (1, "", 3), err
    assert said[0] == "600 pictures in 60 shards of 10"
    assert said[1].endswith("start again to go on")
    assert re.match("error: Ray.* (died|ended).*; finished shards stay: start again to go on", said[2])
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1, again.stderr  # some inputs are no pictures
    assert re.match(r"600 pictures in 60 shards of 10, of which \d+ are finished\n[^\n]*\n$", again.stderr)
    rows = ds.dataset(tmp_path / "out").to_table(columns=["source"]).to_pylist()
    assert {row["source"] for row in rows} == {f"{pictures}#{i}" for i in range(PICTURES)}
