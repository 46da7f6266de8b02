"""Engines run a weight file on arrays: normalised faces in, probabilities, kept patches and embeddings out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from apvit.files import unknown
from apvit.weights import find_weights

from .dial import Keep
from .engine import PRECISIONS, Engine, EngineError, Output, Runtime
from .exported import EXPORTED_ENGINES, SUFFIX, check_installed, is_installed, open_exported

ENGINES = ("torch", *EXPORTED_ENGINES)

__all__ = ["ENGINES", "PRECISIONS", "Engine", "EngineError", "Keep", "Output", "Runtime", "create_engine"]


def create_engine(
    ref: str | Path,
    engine: str = "auto",
    device: str = "auto",
    *,
    keep: Keep | None = None,
    compile: bool = False,
    precision: str = "float32",
) -> Engine:
    """The weights `ref` on an engine: "torch", "onnx", "openvino", or "auto".

    ref: a weight file (bundled name, path or hub reference), which torch runs, or an ONNX file that `apvit export`
        wrote, which ONNX Runtime or OpenVINO run without torch. Given a weight file, "auto" takes its cached export
        (`apvit export W`) where there is one and nothing asks for a GPU, else torch; "onnx" and "openvino" need the
        export to be there.
    keep: what pooling keeps instead of what the card says; an exported file has its own, from when it was exported.
    device: "auto" (a GPU where torch has one), "cpu", "cuda", "cuda:1", ...; exported files run on the CPU.
    compile: run torch's network through `torch.compile`. precision: "float32", or "bf16" on torch; see `TorchEngine`.
    With either, "auto" is torch.

    Raises EngineError for an unknown engine or precision, options that the engine does not have, a device or package
    that is not there, a missing export and a foreign ONNX file, WeightsError and CardError for weights that cannot be
    used.
    """
    if engine not in ("auto", *ENGINES):
        raise EngineError(unknown("engine", engine, ("auto", *ENGINES)))
    if precision not in PRECISIONS:
        raise EngineError(unknown("precision", precision, PRECISIONS))
    if engine in EXPORTED_ENGINES:  # at once, not only when there is an export to open
        check_installed(engine)
    path = find_weights(ref)
    for_torch = compile or precision != "float32"
    if for_torch and (path.suffix == SUFFIX or engine not in ("auto", "torch")):
        raise EngineError("compile and precision are options of torch; exported files are run as they were exported")
    if path.suffix == SUFFIX:
        if engine == "torch":
            raise EngineError(f"{path} is an ONNX file, which torch does not run; choose onnx or openvino")
        if keep is not None:
            raise EngineError(f"what {path} keeps was fixed when it was exported: `apvit export W OUT --keep {keep}`")
        return open_exported(path, _on_cpu(engine, device))
    from .cache import cached_export

    wants_torch = for_torch or engine == "torch" or (engine == "auto" and device not in ("auto", "cpu"))
    export = None if wants_torch else cached_export(path, keep)
    if export is not None and (engine != "auto" or any(map(is_installed, EXPORTED_ENGINES))):
        return open_exported(export, _on_cpu(engine, device))
    if engine not in ("auto", "torch"):
        dial = "" if keep is None else f" --keep {keep}"
        first = "" if find_spec("onnx") and find_spec("onnxscript") else "pip install 'apvit[export]', then "
        raise EngineError(f"{ref} has not been exported for {engine}: {first}run `apvit export {ref}{dial}` once")
    from .torch_engine import TorchEngine

    return TorchEngine(path, device=device, keep=keep, compile=compile, precision=precision)


def _on_cpu(engine: str, device: str) -> str:
    if device not in ("auto", "cpu"):
        raise EngineError(f"exported files run on the CPU, not on {device!r}; use the weight file with torch there")
    return engine
