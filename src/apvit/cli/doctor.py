"""`apvit doctor`: what is installed here, what is broken, and what would be faster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from apvit.files import counted
from apvit.machine import describe_machine, installed_version

if TYPE_CHECKING:
    from apvit.engines.timing import Timing

_IMPORTED = {
    "torch": "torch",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "numpy": "numpy",
    "safetensors": "safetensors",
    "pyarrow": "pyarrow",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
"""Distributions that are imported too, since their compiled parts fail where the metadata look well. The others are
pure, are imported by this command itself, or must not be (mtcnn, for its arrays only)."""


@dataclass(frozen=True)
class Finding:
    """One line of the report: "note" is worth knowing, "broken" makes the exit status 1."""

    name: str
    state: Literal["ok", "note", "broken"]
    text: str


Check = Callable[[], Iterable[Finding]]


def doctor(
    seconds: Annotated[
        float, typer.Option(min=0, max=600, metavar="S", help="Time for the measurement; 0: none.")
    ] = 8.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs instead of lines.")] = False,
) -> None:
    """Show what is installed, what is broken and what would be faster, with a measurement of some seconds.

    The exit status is 1 where something is broken that recognition needs; a missing extra is not.
    """
    import json
    from importlib.metadata import requires

    from rich.console import Console

    messages = Console(stderr=True, highlight=False, markup=False)
    timings: list[Timing] = []
    checks: dict[str, Check] = {
        "machine": check_machine,
        "packages": lambda: check_packages(requires("apvit") or []),
        "GPU": check_gpu,
        "weights": check_weights,
        "detectors": check_detectors,
        "caches": check_caches,
    }
    if seconds:
        from apvit.cli.doctor_speed import check_speed

        checks["speed"] = lambda: check_speed(seconds, timings)
    with messages.status("looking, and measuring ..." if seconds else "looking ..."):
        findings = list(examine(checks))
    if as_json:
        found, timed = ([asdict(one) for one in many] for many in (findings, timings))
        print(json.dumps({"findings": found, "machine": describe_machine(), "timings": timed}))
    else:
        _show(findings)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def examine(checks: dict[str, Check]) -> Iterator[Finding]:
    """The findings of all checks; one that fails is itself a finding, and the others go on."""
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # whatever a damaged installation raises is what we are here to report
            yield Finding(name, "broken", _reason(error))


def check_machine() -> Iterator[Finding]:
    """Versions, processor, threads and load."""
    machine = describe_machine()
    yield Finding("apvit", "ok", f"{machine['packages']['apvit']}, Python {machine['python']}, {machine['platform']}")
    sets = ", ".join(machine["instructions"]) or "instruction sets cannot be read"
    yield Finding("processor", "ok", f"{machine['processor']}, {counted(machine['cores'], 'core')}; {sets}")
    yield check_threads(machine["omp_num_threads"], machine["cores"])
    if load := busy(machine):
        yield Finding("load", "note", load)


def check_threads(value: str | None, cores: int) -> Finding:
    """OMP_NUM_THREADS against the cores there are."""
    name, said = "threads", f"OMP_NUM_THREADS={value}"
    if not value:
        return Finding(name, "ok", f"OMP_NUM_THREADS is not set: every process uses {counted(cores, 'core')}")
    if not value.isdecimal() or int(value) == 0:
        return Finding(name, "note", f"{said} is not a whole number above 0 and is ignored; unset it")
    if int(value) > cores:
        return Finding(
            name, "note", f"{said}, but this machine has {counted(cores, 'core')}; more threads than cores are slower"
        )
    if int(value) < cores:
        return Finding(name, "note", f"{said} leaves cores idle ({cores} there are) unless other processes use them")
    return Finding(name, "ok", f"{said}, as many as there are cores")


def check_packages(requirements: Sequence[str]) -> Iterator[Finding]:
    """What apvit needs, in one line with further ones for what is wrong, then a line for every extra.

    requirements: as in the metadata of a distribution, `name>=1; extra == "train"`.
    """
    from packaging.requirements import Requirement

    needed, extras = [], dict[str, list[Requirement]]()
    for requirement in map(Requirement, requirements):
        extra = str(requirement.marker).partition("extra == ")[2].strip('"') if requirement.marker else ""
        if not extra:
            needed.append(requirement)
        elif extra != "dev" and requirement.name != "apvit":
            extras.setdefault(extra, []).append(requirement)
    there: list[str] = []
    wrong: list[Finding] = []
    for requirement in needed:
        found = installed_version(requirement.name)
        if found is not None:
            there.append(f"{requirement.name} {found}")
        wrong += _wrong(requirement, found)
    yield Finding("packages", "ok", ", ".join(there))
    yield from wrong
    for extra, wanted in extras.items():
        versions = {requirement: installed_version(requirement.name) for requirement in wanted}
        missing = [requirement.name for requirement, found in versions.items() if found is None]
        if missing:
            text = f"without {', '.join(missing)}: pip install 'apvit[{extra}]' brings what is missing"
            yield Finding(f"[{extra}]", "note", text)
        else:
            yield Finding(f"[{extra}]", "ok", ", ".join(f"{one.name} {found}" for one, found in versions.items()))
        for requirement, found in versions.items():
            if found is not None:
                yield from _wrong(requirement, found)


def _wrong(requirement: Any, found: str | None) -> Iterator[Finding]:
    """What is wrong with one package of which the version `found` is installed, if anything is."""
    name = requirement.name
    if found is None:
        from apvit.engines.exported import EXPORTED_ENGINES, is_installed

        if name == "torch" and any(map(is_installed, EXPORTED_ENGINES)):
            text = "torch is not installed: only what `apvit export` wrote runs here; pip install torch for the rest"
            yield Finding(name, "note", text)
        else:
            yield Finding(name, "broken", f"{name} is not installed: pip install '{_plain(requirement)}'")
        return
    try:
        if name in _IMPORTED:
            import_module(_IMPORTED[name])
    except Exception as error:  # OSError for a missing library, and others
        text = f"{name} {found} cannot be imported ({_reason(error)}): pip install --force-reinstall {name}"
        yield Finding(name, "broken", text)
        return
    if not requirement.specifier.contains(found, prereleases=True):
        text = f"{name} {found} is outside what apvit is tested with: pip install '{_plain(requirement)}'"
        yield Finding(name, "note", text)


def _plain(requirement: Any) -> str:
    return f"{requirement.name}{requirement.specifier}"


def check_gpu() -> Iterator[Finding]:
    """What torch sees."""
    if installed_version("torch") is None:
        yield Finding("GPU", "note", "not looked for: that takes torch")
        return
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding("GPU", "ok", ", ".join(names) or "none that torch sees; the CPU does everything")


def check_weights() -> Iterator[Finding]:
    """Whether each of the bundled weights is whole and builds its network, and has a cached export."""
    from apvit.engines.cache import cached_export
    from apvit.weights import find_weights, list_weights, load_weights, read_card

    names = list_weights()
    if not names:
        yield Finding("weights", "broken", "no weights are bundled: pip install --force-reinstall --no-deps apvit")
    for name in names:
        path = find_weights(name)
        if installed_version("torch") is None:
            read_card(name)
        else:
            load_weights(name)
        export = "a cached export" if cached_export(path) else "no cached export"
        yield Finding(name, "ok", f"whole, {path.stat().st_size / 1e6:.1f} MB, {export}")


def check_detectors() -> Iterator[Finding]:
    """MTCNN's nets from their package, and YuNet's model in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    from apvit.faces.detection import create_detector
    from apvit.faces.yunet import FILE, REPOSITORY

    create_detector("mtcnn")
    yield Finding("MTCNN", "ok", "its three nets are there")
    cached = try_to_load_from_cache(REPOSITORY, FILE)
    if isinstance(cached, str):
        try:
            create_detector("yunet", model=cached)
        except ValueError as error:  # YuNet is a choice, and its model comes from outside
            yield Finding("YuNet", "note", _reason(error))
        else:
            yield Finding("YuNet", "ok", "its model is in the Hugging Face cache")
    else:
        text = f"its model is not cached: the first use downloads it, or give {FILE} with --detector-model"
        yield Finding("YuNet", "note", text)


def check_caches() -> Iterator[Finding]:
    """Where exports and hub files are kept."""
    from huggingface_hub import constants

    from apvit.engines.cache import cache_folder

    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(existing, os.W_OK):
        yield Finding("exports", "ok", f"in {folder}")
    else:
        text = f"{folder} cannot be written: `apvit export` needs another folder in APVIT_CACHE"
        yield Finding("exports", "note", text)
    offline = "; HF_HUB_OFFLINE is set: nothing is downloaded" if constants.HF_HUB_OFFLINE else ""
    yield Finding("hub cache", "ok", f"{constants.HF_HUB_CACHE}{offline}")


def threads(machine: dict[str, Any]) -> str:
    """OMP_NUM_THREADS in a few words, of `describe_machine`."""
    value = machine["omp_num_threads"]
    return f"OMP_NUM_THREADS={value}" if value else "OMP_NUM_THREADS not set"


def busy(machine: dict[str, Any]) -> str:
    """A sentence where other programs held half of the cores or more during the last minute, else ""."""
    load, cores = machine["load"], machine["cores"]
    if load is None or load < cores / 2:
        return ""
    return f"busy: a load of {load:.1f} on {counted(cores, 'core')} during the last minute; a quiet machine is faster"


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _show(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for finding in findings:
        style = {"ok": "green", "note": "yellow", "broken": "bold red"}[finding.state]
        table.add_row(Text(finding.state, style=style, no_wrap=True), Text(finding.name, no_wrap=True), finding.text)
    Console(highlight=False, markup=False).print(table)
