"""The one-file weight format: safetensors whose metadata holds the card and a digest over card and tensors.

Reading the card needs no torch. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from apvit.files import completing, reason
from apvit.runtimes import torch_alone

from .card import Card, CardError
from .sources import WeightsError, find_weights

if TYPE_CHECKING:
    import torch

    from apvit.nn import HybridModel

__all__ = ["WeightsError", "load_weights", "read_card", "replace_card", "save_weights"]

CARD_KEY = "apvit"
DIGEST_KEY = "apvit_sha256"
MAX_HEADER = 16 * 2**20  # bytes; the header of a 65 M-parameter model takes 40 kB
FLOATS, INTEGER = ("F16", "BF16", "F32", "F64"), "I64"  # safetensors' names of the dtypes that are stored
PICKLES = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))  # torch.save's zip, and bare ones
CONVERT = "`apvit convert official.pth out.safetensors` converts an official checkpoint"


class _Stored(NamedTuple):
    """A tensor as it stands in the file."""

    name: str
    dtype: str
    shape: list[int]
    data: bytes | bytearray | memoryview


def save_weights(model: HybridModel, card: Card, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write `model` and `card` to one .safetensors file, in the model's own dtypes or with its floats cast to `dtype`.

    The file appears complete or not at all: it is written under a temporary name in the same folder and renamed.
    Raises WeightsError for a card that describes another model, for NaN and infinity (also those that a cast to `dtype`
    makes), for a dtype that is no float of at least 16 bits, and where the file cannot be written.
    """
    import torch

    text = card.to_json()
    told, real = Card.from_json(text).parameters, _parameters(model)  # from the text: what is written must be readable
    if differing := [k for k in (real | told) if k not in told or k not in real or told[k] != real[k]]:
        raise WeightsError(f"the card describes another model: its parameters differ in {summary(differing)}")
    names = {dtype: name for name, dtype in _dtypes().items()}
    if dtype is not None and names.get(dtype) not in FLOATS:
        raise WeightsError(f"weights are stored as one of {', '.join(FLOATS)}, not {dtype}")
    stored = []
    for name, tensor in model.state_dict().items():
        floating = tensor.is_floating_point()
        tensor = tensor.detach().to("cpu", dtype if floating else None).contiguous()
        if floating and not bool(tensor.isfinite().all()):
            raise WeightsError(f"tensor {name!r} has values that are NaN or infinite in {tensor.dtype}")
        data = tensor.flatten().view(torch.uint8).numpy().data
        stored.append(_Stored(name, names[tensor.dtype], list(tensor.shape), data))
    _write(Path(path), {CARD_KEY: text, DIGEST_KEY: _digest(text, stored)}, stored)


def replace_card(ref: str | Path, card: Card, path: str | Path) -> None:
    """Write a copy of the weight file `ref` that has another card; its tensors are the same bytes.

    The copy appears complete or not at all, and may replace the file itself. Raises WeightsError or CardError as
    `read_card` does, for a card that describes another model, and where the file cannot be written.
    """
    source = find_weights(ref)
    old, stored = _read(source)
    if card.parameters != old.parameters:
        raise WeightsError(f"the card describes another model than {source} holds: its parameters differ")
    text = card.to_json()
    _write(Path(path), {CARD_KEY: text, DIGEST_KEY: _digest(text, stored)}, stored)


@torch_alone("cpu", WeightsError)
def load_weights(ref: str | Path, *, device: str | torch.device = "cpu") -> tuple[HybridModel, Card]:
    """The model, float32 and in evaluation mode on `device`, and the card of a bundled name, path or hub reference.

    Raises WeightsError or CardError for a file that is missing, truncated, altered since it was written, not made by
    apvit, or whose tensors are not exactly those of the architecture that its card describes.
    """
    import torch

    path = find_weights(ref)
    card, stored = _read(path)
    dtypes, tensors = _dtypes(), {}
    for name, dtype, shape, data in stored:
        if not data:
            raise WeightsError(f"{path}: tensor {name!r} is empty")
        tensor = torch.frombuffer(data, dtype=dtypes[dtype]).reshape(shape)
        if tensor.is_floating_point():
            tensor = tensor.float()
            if not bool(tensor.isfinite().all()):
                raise WeightsError(f"{path}: tensor {name!r} has values that are NaN or infinite")
        tensors[name] = tensor
    try:
        return assemble(card.parameters, tensors).to(device), card
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except (RuntimeError, AssertionError) as error:  # torch's words for a device that is unknown or not there
        raise WeightsError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from None


def read_card(ref: str | Path) -> Card:
    """The card of a bundled name, path or hub reference, after the whole file's digest was checked; needs no torch.

    Raises WeightsError or CardError as `load_weights` does, except for tensors that do not fit the architecture.
    """
    return _read(find_weights(ref))[0]


def assemble(parameters: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> HybridModel:
    """The model of these hyper-parameters, of whichever family, that holds exactly these tensors, in evaluation mode.

    Raises WeightsError for parameters that cannot be built, and for missing, unexpected or misshapen tensors.
    """
    import torch

    from apvit.nn import build_model, read_config

    try:
        # Bounds what a forged card can make us build; every block, stem unit and local CNN has several tensors.
        modules = int(parameters["depth"]) + sum(int(units) for _, units in parameters["stem_stages"])
        modules += int(parameters.get("local_branches", 0))
        if modules > len(tensors):
            raise WeightsError(
                f"the card describes {modules} blocks, units and local CNNs, but there are {len(tensors)} tensors"
            )
        with torch.device("meta"):  # no memory, no initialisation, no random numbers drawn
            model = build_model(read_config(parameters))
    except WeightsError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise WeightsError(f"the card's parameters cannot be built: {error}") from None
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    if missing or unexpected:
        raise WeightsError(
            f"the tensors are not those of the card's architecture: {summary(missing)} missing, "
            f"{summary(unexpected)} unexpected"
        )
    for name, tensor in wanted.items():
        got = tensors[name]
        if got.shape != tensor.shape or got.is_floating_point() != tensor.is_floating_point():
            raise WeightsError(
                f"tensor {name!r} must be {list(tensor.shape)} {_kind(tensor)}, got {list(got.shape)} {_kind(got)}"
            )
    model.load_state_dict(dict(tensors), assign=True)
    return model.eval()


def _read(path: Path) -> tuple[Card, list[_Stored]]:
    """Card and tensors of a file whose digest is right; every other file is a WeightsError or CardError."""
    from safetensors import SafetensorError, deserialize

    try:
        if not path.is_file():
            raise WeightsError(f"{path} is {'a folder' if path.is_dir() else 'not a file'}; give the .safetensors file")
        with path.open("rb") as file:
            prefix, metadata = _read_header(path, file)
            text, digest = metadata.get(CARD_KEY), metadata.get(DIGEST_KEY)
            if not isinstance(text, str) or not isinstance(digest, str):
                raise WeightsError(
                    f"{path} is a safetensors file without an apvit card, so nobody knows how to use it; {CONVERT}"
                )
            content = prefix + file.read()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {reason(error)}") from None
    try:
        card = Card.from_json(text)
    except CardError as error:
        raise CardError(f"{path}: {error}") from None
    try:
        stored = [_Stored(name, v["dtype"], v["shape"], v["data"]) for name, v in deserialize(content)]  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise WeightsError(f"{path} is truncated or damaged ({error}); get it again") from None
    for name, dtype, _, _ in stored:
        if dtype not in (*FLOATS, INTEGER):
            raise WeightsError(f"{path}: tensor {name!r} has dtype {dtype}; known are {', '.join(FLOATS)}, {INTEGER}")
    if _digest(text, stored) != digest:
        raise WeightsError(f"{path} was changed after it was written (its SHA-256 does not match); get it again")
    return card, stored


def _read_header(path: Path, file: BinaryIO) -> tuple[bytes, dict[str, Any]]:
    """The file's first bytes up to the end of safetensors' header, and the header's metadata."""
    start = file.read(8)
    if not start:
        raise WeightsError(f"{path} is empty (0 bytes); get it again")
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > MAX_HEADER:
        if start.startswith(PICKLES):
            raise WeightsError(f"{path} is a pickle, which may run code when it is opened, and is not read; {CONVERT}")
        raise WeightsError(f"{path} is not a safetensors file; {CONVERT}")
    header = file.read(length)
    if len(header) < length:
        raise WeightsError(f"{path} is truncated, or not a safetensors file; get it again")
    try:
        values = json.loads(header)
        metadata = values.get("__metadata__") or {}
        return start + header, dict(metadata)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise WeightsError(f"{path} is damaged, or not a safetensors file; get it again") from None


def _digest(card: str, stored: Iterable[_Stored]) -> str:
    """SHA-256 over the card's text and every tensor in the order of names: [name, dtype, shape] as JSON, then bytes."""
    digest = hashlib.sha256(card.encode())
    for name, dtype, shape, data in sorted(stored, key=lambda s: s.name):
        digest.update(json.dumps([name, dtype, shape]).encode())
        digest.update(data)
    return digest.hexdigest()


def _write(path: Path, metadata: dict[str, str], stored: list[_Stored]) -> None:
    """Write a safetensors file so that a full disk or a kill leaves what was there before.

    Ours rather than the library's writer, whose metadata comes in an order that changes from call to call: the same
    model and card always make the same bytes.
    """
    # Widest dtypes first, as the library does, so that every tensor lies aligned.
    stored = sorted(stored, key=lambda s: (s.dtype not in ("I64", "F64"), s.dtype != "F32", s.name))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, dtype, shape, data in stored:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end := end + len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with completing(path) as temporary, temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in stored:
                file.write(tensor.data)
    except OSError as error:
        raise WeightsError(f"cannot write {path}: {reason(error)}") from error


def _dtypes() -> dict[str, torch.dtype]:
    import torch

    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
    return dict(zip((*FLOATS, INTEGER), dtypes, strict=True))


def _parameters(model: HybridModel) -> dict[str, Any]:
    """The model's hyper-parameters as the card holds them, with lists for tuples."""
    values: dict[str, Any] = json.loads(json.dumps(model.config.to_dict()))
    return values


def summary(names: Iterable[str]) -> str:
    """How many there are, and the first three.

    >>> summary(["a", "b", "c", "d"])
    '4 (a, b, c, ...)'
    """
    names = list(names)
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} ({shown})" if names else "0"


def _kind(tensor: torch.Tensor) -> str:
    return "floating point" if tensor.is_floating_point() else "integer"
