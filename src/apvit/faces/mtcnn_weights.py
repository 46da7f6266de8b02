"""MTCNN's weights, from the package `mtcnn`: found, checked and read, for torch and for ONNX Runtime.

The weights are those of the package `mtcnn` 1.0.0 (MIT), whose own code needs TensorFlow and is therefore never
imported. They are pickles, so a file is opened only after its SHA-256 was found to be the known one. They are in
joblib's format, but joblib costs more time to import than all of them to read, so they are read here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.faces.detection import DetectorError

PACKAGE = "mtcnn"
SHA256 = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}

Array = npt.NDArray[np.float32]


def find_weights() -> Path:
    """The folder of the installed package's weights; DetectorError where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)  # importing the package would fail without TensorFlow
    if spec is None or not spec.submodule_search_locations:
        raise DetectorError("the detector mtcnn needs its networks' weights; run: pip install 'mtcnn==1.0.0'")
    return Path(spec.submodule_search_locations[0]) / "assets" / "weights"


def load_arrays(folder: Path, net: str) -> list[Array]:
    """The float32 arrays of `net` ("pnet", "rnet" or "onet"), in layer order.

    Convolutions are [h, w, in, out], dense layers [in, out] over patches flattened in the order W, H, C. Raises
    DetectorError for a missing or foreign file, before anything in it is unpickled.
    """
    from lz4 import frame  # type: ignore[import-untyped]

    path = folder / f"{net}.lz4"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DetectorError(
            f"MTCNN's weights {str(path)!r} cannot be read; run: pip install --force-reinstall 'mtcnn==1.0.0'"
        ) from error
    if hashlib.sha256(content).hexdigest() != SHA256[net]:
        raise DetectorError(
            f"MTCNN's weights {str(path)!r} are not those of mtcnn 1.0.0 and were not opened; "
            "run: pip install --force-reinstall 'mtcnn==1.0.0'"
        )
    return _Reader(io.BytesIO(frame.decompress(content))).arrays()


class _Reader(pickle.Unpickler):
    """Reads a list of arrays that joblib wrote: after the pickle of each one's description stand its bytes."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self._file = file

    def arrays(self) -> list[Array]:
        """The list."""
        return [described.values for described in self.load()]

    def find_class(self, module: str, name: str) -> Any:
        """The three names that such a file needs."""
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return type("Described", (_Described,), {"file": self._file})
        return {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}[module, name]


class _Described:
    """Stands for joblib's NumpyArrayWrapper; unpickling its description reads the array."""

    file: io.BytesIO
    values: Array

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.file.read(self.file.read(1)[0])  # how many bytes align what follows, and those
        shape, dtype = state["shape"], state["dtype"]
        data = self.file.read(int(np.prod(shape)) * dtype.itemsize)
        self.values = np.frombuffer(data, dtype).reshape(shape, order=state["order"]).copy()
