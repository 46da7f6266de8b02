"""Whole programs on the same pictures: ours, and the package `fer` in an environment of its own.

Two portraits and two crowds made of them are recognised one picture after the other, as the programs' own READMEs do
it: reading the file, finding the faces, naming their expressions. Each round starts every program once, in a fresh
process. `fer` (mini-Xception on TensorFlow) finds faces by Haar cascades or, where asked to, by MTCNN on torch.

    python benchmarks/speed/peers.py

writes peers.json beside this file in about four minutes of two quiet cores. The first time, `fer` is installed into
--environment (gigabytes, minutes). Which alternatives are not measured, and why, stands in LEFT_OUT.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pictures import crowd, photographs
from PIL import Image
from processes import PATIENCE, NotRunningError, run
from records import HERE, machine, options, spread, write_record
from result_tables import peers_table
from subjects import installed_engines, open_engine, workplace

from apvit.faces.detection import DEFAULT_MIN_FACE
from apvit.weights import find_weights

WEIGHTS = "apvit_tiny"
FER = "fer==25.10.3"
ENVIRONMENT = Path.home() / ".cache" / "apvit-benchmarks" / "fer"
FER_MIN_FACE = 50
"""Pixels of the smallest faces that fer seeks; we seek down to 24, which is most of the work."""
LEFT_OUT = {"deepface": "downloads its weights when it is first used, and this machine reaches package registries only"}


@dataclass(frozen=True)
class Contender:
    """A program: what its command line begins with, before SECONDS and PICTURES."""

    name: str
    command: tuple[str, ...]


def main() -> None:
    parser = options(__doc__, "peers", 6.0, "seconds for each program and round, once it has started")
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each program (default: 3)")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="where fer is, or will be installed")
    arguments = parser.parse_args()
    made = machine()
    with workplace(arguments.folder) as folder:
        pictures = write_pictures(folder)
        contenders = ours()
        obstacle = install(FER, arguments.environment)
        if obstacle is None:
            contenders += fer(arguments.environment)
        results = measure(contenders, [path for path, _ in pictures], arguments.seconds, arguments.rounds)
    if obstacle is not None:
        results.append({"name": "fer", "reason": obstacle})
    record = {
        "true_faces": {path.stem: faces for path, faces in pictures},
        "contenders": results,
        "fer": versions(arguments.environment) if obstacle is None else {},
        "left_out": LEFT_OUT,
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "machine": made,
    }
    write_record(arguments.output, record)
    print(peers_table(record))


def write_pictures(folder: Path) -> list[tuple[Path, int]]:
    """Picture files, and how many faces are in each."""
    pictures = [(name, picture, 1) for name, picture in photographs().items()]
    pictures += [(f"crowd of {faces}", crowd(faces, tile), faces) for faces, tile in ((8, 480), (32, 240))]
    written = []
    for name, picture, faces in pictures:
        path = folder / f"{name}.png"
        Image.fromarray(picture).save(path)
        written.append((path, faces))
    return written


def ours() -> list[Contender]:
    """apvit on every engine, as it comes and seeking no smaller faces than fer; exported files run without torch."""
    script = (sys.executable, str(HERE / "peer_apvit.py"))
    found = []
    for engine in installed_engines()[0]:
        open_engine(find_weights(WEIGHTS), engine)  # exports where that is needed
        for name, min_face in ((f"apvit, {engine}", DEFAULT_MIN_FACE), (f"apvit, {engine}, as fer", FER_MIN_FACE)):
            found.append(Contender(name, (*script, WEIGHTS, engine, str(min_face))))
    return found


def fer(environment: Path) -> list[Contender]:
    """fer with either of its detectors."""
    script = (str(environment / "bin" / "python"), str(HERE / "peer_fer.py"))
    return [Contender(f"fer, {label}", (*script, key)) for key, label in (("haar", "Haar"), ("mtcnn", "MTCNN"))]


def install(requirement: str, environment: Path) -> str | None:
    """Make the virtual environment and install into it unless that is done; the reason where it cannot be."""
    python = environment / "bin" / "python"
    try:
        if not python.exists():
            venv.create(environment, with_pip=True)
        if subprocess.run([python, "-c", "import fer.fer"], capture_output=True, timeout=PATIENCE).returncode == 0:
            return None
        print(f"installing {requirement} into {environment}: gigabytes, minutes, once ...", file=sys.stderr)
        run([str(python), "-m", "pip", "install", "--quiet", requirement])
        run([str(python), "-c", "import fer.fer"])
    except (OSError, subprocess.SubprocessError, NotRunningError) as error:
        return f"{requirement}: {error}"
    return None


def versions(environment: Path) -> dict[str, str]:
    """The releases of what matters in fer's environment."""
    code = (
        "import json; from importlib.metadata import version; names = ['fer', 'tensorflow', 'keras', 'torch', "
        "'facenet-pytorch', 'opencv-contrib-python']; print(json.dumps({name: version(name) for name in names}))"
    )
    found: dict[str, str] = json.loads(run([str(environment / "bin" / "python"), "-c", code]))
    return found


def measure(
    contenders: Sequence[Contender], pictures: Sequence[Path], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """A result for each contender, as JSON values; one that fails once is started no more and says why."""
    reports: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contenders}
    reasons: dict[str, str] = {}
    for _ in range(rounds):
        for one in contenders:
            if one.name in reasons:
                continue
            try:
                reports[one.name].append(run_once(one, pictures, seconds))
            except NotRunningError as error:
                reasons[one.name] = str(error)
    return [
        {"name": name, "reason": reasons[name]} if name in reasons else {"name": name, **summarise(own)}
        for name, own in reports.items()
    ]


def run_once(one: Contender, pictures: Sequence[Path], seconds: float) -> dict[str, Any]:
    """What a fresh process of the program reports, and the seconds from its start to its first answer."""
    start = time.monotonic()
    report: dict[str, Any] = json.loads(run([*one.command, str(seconds), *map(str, pictures)]))
    return {**report, "cold_seconds": report["first_answer"] - start}


def summarise(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One program over its processes; times are medians of a picture's repetitions, then spreads over rounds."""
    per_picture = [
        {Path(path).stem: spread(taken)["median"] for path, taken in report["seconds"].items()} for report in reports
    ]
    faces = {Path(path).stem: count for path, count in reports[0]["faces"].items()}
    return {
        "cold_seconds": spread([report["cold_seconds"] for report in reports]),
        "seconds": {name: spread([one[name] for one in per_picture]) for name in faces},
        "seconds_per_picture": spread([sum(one.values()) / len(one) for one in per_picture]),
        "faces_per_second": spread([sum(faces.values()) / sum(one.values()) for one in per_picture]),
        "faces": faces,
        "peak_mib": max(report["peak_bytes"] for report in reports) / 2**20,
    }


if __name__ == "__main__":
    main()
