"""`apvit serve` from end to end, as a process: it starts, answers, writes nothing to a disk, and ends when told."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from apvit.cli import main


@dataclass
class Running:
    """The process and its log."""

    process: subprocess.Popen[str]
    log: list[dict[str, Any]] = field(default_factory=list)

    def event(self, name: str) -> dict[str, Any]:
        """The first line of the log with this event, once it is there."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if found := [line for line in self.log if line["event"] == name]:
                return found[0]
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        raise AssertionError(f"no {name} in {self.log}")


@contextmanager
def running(*options: str, **environment: str) -> Iterator[Running]:
    """`apvit serve`, which may write no byte to any file: not the service, nor its worker, which inherits that."""

    def forbid_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    process = subprocess.Popen(
        [sys.executable, "-c", "from apvit.cli import main; main()", "serve", "--port", "0", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        preexec_fn=forbid_files,
    )
    run = Running(process)
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: run.log.extend(map(json.loads, process.stderr)))  # type: ignore[arg-type]
    reader.start()
    try:
        yield run
    finally:
        process.kill()
        process.wait()
        reader.join()


def test_it_answers_writes_no_file_logs_no_upload_and_finishes_what_it_accepted(photographs: dict[str, Path]) -> None:
    photo = photographs["astronaut"].read_bytes()
    upload = photo + bytes(5_000_000)  # far beyond what the framework's own parser keeps in memory
    with running(APVIT_API_KEYS="correct-horse-battery") as run:
        url = run.event("listening")["url"]
        with httpx.Client(
            base_url=url, headers={"Authorization": "Bearer correct-horse-battery"}, timeout=60, trust_env=False
        ) as client:

            def post(name: str) -> httpx.Response:
                return client.post("/v1/recognize?min_face=30", files={"picture": (name, upload)})

            assert httpx.post(f"{url}/v1/recognize", trust_env=False).status_code == 401
            answer = post("secret-name.png")
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["results"][0]["faces"]) == 1
            workers = children(run.process.pid)
            # Accepted, not yet answered, and then told to end.
            for worker in workers:
                os.kill(worker, signal.SIGSTOP)
            late: list[httpx.Response] = []
            thread = threading.Thread(target=lambda: late.append(post("another-name.png")))
            thread.start()
            wait_for(lambda: "apvit_held_bytes 0.0" not in client.get("/metrics").text)
            time.sleep(0.3)
            run.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            for worker in workers:
                os.kill(worker, signal.SIGCONT)
            thread.join()
        assert [one.status_code for one in late] == [200]
        assert run.process.wait(30) == 0
        wait_for(lambda: not any(map(is_alive, workers)))
    assert [line["event"] for line in run.log][-2:] == ["finishing", "ended"]
    (first,) = [line for line in run.log if line.get("request_id") == answer.headers["x-request-id"]]
    assert first | {"time": "", "milliseconds": 0} == {
        "time": "",
        "level": "info",
        "event": "request",
        "request_id": answer.headers["x-request-id"],
        "method": "POST",
        "route": "/v1/recognize",
        "status": 200,
        "milliseconds": 0,
        "pictures": 1,
        "unusable": 0,
        "faces": 1,
    }
    assert not re.search("name|correct-horse|min_face", json.dumps(run.log))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--weights", "no_such_weights"], "no_such_weights"),
        (["--keep", "much"], "'much' is no keep setting"),
        (["--api-keys", "no_such_file"], "no_such_file"),
        (["--host", "256.0.0.1"], "cannot listen on 256.0.0.1:8000"),
    ],
)
def test_what_it_cannot_start_with_is_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.getLogger().handlers[:]
    with pytest.raises(SystemExit) as stop:
        main(["serve", *arguments, *([] if "--host" in arguments else ["--port", "0"])])
    assert stop.value.code == 1
    assert logging.getLogger().handlers == handlers, "logs went on to a standard error that is closed by now"
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ")
    assert sentence in error
    assert "Traceback" not in error


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    from apvit.serve.running import listen

    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit):
            main(["serve", "--port", port])
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def children(pid: int) -> list[int]:
    """Process numbers of a process's children that are workers."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [one for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}/stat").exists()


def wait_for(reached: Any) -> None:
    """Until it is so, for 20 seconds at most."""
    end = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)
