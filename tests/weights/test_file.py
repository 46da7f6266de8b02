"""The one-file format: what comes back, and that every other file is refused in one sentence."""

from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import apvit.weights.file as file_module
from apvit.nn import APViT, create_model
from apvit.weights import Card, CardError, WeightsError, load_weights, read_card, save_weights

MakeCard = Callable[..., Card]


@pytest.fixture
def saved(tmp_path: Path, model: APViT, make_card: MakeCard) -> Path:
    path = tmp_path / "model.safetensors"
    save_weights(model, make_card(), path)
    return path


def forge(path: Path, tensors: dict[str, torch.Tensor], card: str) -> None:
    """A file with a right digest, as someone who knows the format would write it."""
    names = {dtype: name for name, dtype in file_module._dtypes().items()}
    stored = [
        file_module._Stored(k, names.get(v.dtype, "I32"), list(v.shape), v.flatten().view(torch.uint8).numpy().data)
        for k, v in tensors.items()
    ]
    save_file(tensors, path, {"apvit": card, "apvit_sha256": file_module._digest(card, stored)})


def test_round_trip(saved: Path, model: APViT, make_card: MakeCard) -> None:
    loaded, card = load_weights(saved)
    assert card == make_card() == read_card(saved) == read_card(str(saved))
    assert loaded.config == model.config
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    x = torch.randn(3, 1, 16, 16)
    assert torch.equal(loaded(x), model.eval()(x))


def test_loading_draws_no_random_numbers(saved: Path) -> None:
    state = torch.get_rng_state()
    load_weights(saved)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("own", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.float32])
def test_dtypes_are_kept_in_the_file(
    tmp_path: Path, model: APViT, make_card: MakeCard, own: torch.dtype, dtype: torch.dtype | None
) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(model.to(own), make_card(), path, dtype=dtype)
    for name, tensor in load_file(path).items():
        expected = torch.int64 if name.endswith("num_batches_tracked") else (dtype or own)
        assert tensor.dtype == expected
    loaded, _ = load_weights(path)
    for name, tensor in loaded.state_dict().items():
        floating = tensor.is_floating_point()
        stored = model.state_dict()[name].to(dtype if floating else None)
        assert tensor.dtype == (torch.float32 if floating else torch.int64)
        assert torch.equal(tensor, stored.to(tensor.dtype))


def test_any_memory_format_is_saved_alike(tmp_path: Path, saved: Path, model: APViT, make_card: MakeCard) -> None:
    other = tmp_path / "other.safetensors"
    save_weights(model.to(memory_format=torch.channels_last), make_card(), other)
    assert other.read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("change", "dtype", "message"),
    [
        (lambda m: m.head.bias.data.fill_(float("nan")), None, "'head.bias' has values that are NaN or infinite"),
        (lambda m: m.head.bias.data.fill_(1e6), torch.float16, "'head.bias' has values that are NaN or infinite in"),
        (lambda m: None, torch.int8, "weights are stored as one of F16, BF16, F32, F64, not torch.int8"),
        (lambda m: None, torch.int64, "weights are stored as one of F16, BF16, F32, F64, not torch.int64"),
    ],
)
def test_save_refuses(
    tmp_path: Path, model: APViT, make_card: MakeCard, change: Any, dtype: torch.dtype | None, message: str
) -> None:
    change(model)
    with pytest.raises(WeightsError, match=message):
        save_weights(model, make_card(), tmp_path / "m.safetensors", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_save_refuses_another_models_card(tmp_path: Path, make_card: MakeCard) -> None:
    other = create_model("apvit_tiny", image_size=16, dim=32, patch_keep=None, token_keep=None)
    with pytest.raises(WeightsError, match=r"describes another model: its parameters differ in \d \(stem_width"):
        save_weights(other, make_card(), tmp_path / "m.safetensors")


def test_save_refuses_parameters_that_are_not_the_models(tmp_path: Path, model: APViT, make_card: MakeCard) -> None:
    card = make_card(parameters={**model.config.to_dict(), "colour": "red"})
    with pytest.raises(WeightsError, match=r"differ in 1 \(colour\)"):
        save_weights(model, card, tmp_path / "m.safetensors")


def test_full_disk_leaves_the_old_file(saved: Path, model: APViT, make_card: MakeCard) -> None:
    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(WeightsError, match=r"cannot write .*model\.safetensors: File too large"):
            save_weights(model, make_card(temperature=2.0), saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("place", ["nowhere/m.safetensors", "model.safetensors/m.safetensors", "."])
def test_unwritable_places(saved: Path, model: APViT, make_card: MakeCard, place: str) -> None:
    with pytest.raises(WeightsError, match="cannot write"):
        save_weights(model, make_card(), saved.parent / place)
    assert list(saved.parent.iterdir()) == [saved]


def _torch_zip(path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(3)}}, path)


def _torch_legacy(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_torch_zip, "is a pickle, which may run code when it is opened, and is not read; `apvit convert"),
        (_torch_legacy, "is a pickle"),
        (lambda p: p.write_bytes(pickle.dumps({"a": list(range(1000))}, 4)), "is a pickle"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(b"abc"), "is not a safetensors file"),
        (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" * 100), "is not a safetensors file"),
        (lambda p: p.write_bytes((100).to_bytes(8, "little") + b"{}"), "is truncated, or not a safetensors file"),
        (lambda p: p.write_bytes((2).to_bytes(8, "little") + b"[]"), "is damaged, or not a safetensors file"),
        (lambda p: p.write_bytes((2**62).to_bytes(8, "little") + b"{}"), "is not a safetensors file"),
        (lambda p: p.mkdir(), "is a folder; give the .safetensors file"),
        (lambda p: save_file({"a": torch.zeros(3)}, p), "without an apvit card"),
        (lambda p: save_file({"a": torch.zeros(3)}, p, {"format": "pt"}), "without an apvit card"),
        (lambda p: save_file({"a": torch.zeros(3)}, p, {"apvit": "{}"}), "without an apvit card"),
        (lambda p: save_file({"a": torch.zeros(3)}, p, {"apvit": "{}", "apvit_sha256": ""}), "format must be"),
    ],
)
@pytest.mark.parametrize("load", [load_weights, read_card])
def test_foreign_files(tmp_path: Path, write: Any, message: str, load: Any) -> None:
    path = tmp_path / "foreign.bin"
    write(path)
    with pytest.raises((WeightsError, CardError), match=message) as error:
        load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_special_files_are_not_read() -> None:
    with pytest.raises(WeightsError, match="/dev/zero is not a file"):
        load_weights("/dev/zero")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content.replace(b"majority", b"probably", 1),
        lambda content: content.replace(b"happiness", b"contempt ", 1),
        lambda content: content.replace(b"1.25", b"1.75", 1),
    ],
)
@pytest.mark.parametrize("load", [load_weights, read_card])
def test_tampering(saved: Path, tamper: Callable[[bytes], bytes], load: Any) -> None:
    content = tamper(saved.read_bytes())
    assert content != saved.read_bytes()
    assert len(content) == saved.stat().st_size
    saved.write_bytes(content)
    with pytest.raises((WeightsError, CardError), match=r"was changed after it was written|unknown expression"):
        load(saved)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_never_crashes(saved: Path, model: APViT, data: st.DataObject) -> None:
    """Flipped bytes and cuts, mostly in the header; what still loads is what was saved."""
    content = bytearray(saved.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, header) | st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    damaged = saved.with_name("damaged.safetensors")
    damaged.write_bytes(content[:cut])
    try:
        loaded, card = load_weights(damaged)
    except (WeightsError, CardError):
        pass
    else:
        assert card == read_card(saved)
        assert all(torch.equal(loaded.state_dict()[name], t) for name, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.bias"), r"1 \(head.bias\) missing, 0 unexpected"),
        (lambda t: [t.pop(k) for k in list(t) if "blocks.1" in k], r"\(blocks.1.norm1.weight, .*, \.\.\.\) missing"),
        (lambda t: t.update(extra=torch.zeros(1)), r"0 missing, 1 \(extra\) unexpected"),
        (lambda t: t.update({"head.bias": torch.zeros(7)}), r"'head.bias' must be \[8\] floating point, got \[7\]"),
        (lambda t: t.update({"head.bias": torch.zeros(8).long()}), r"must be \[8\] floating point, got \[8\] integer"),
        (lambda t: t.update({"head.bias": torch.zeros(8).int()}), "'head.bias' has dtype I32; known are"),
        (lambda t: t.update({"head.bias": torch.zeros(0)}), "'head.bias' is empty"),
        (lambda t: t.update({"head.bias": torch.full((8,), torch.nan)}), "'head.bias' has values that are NaN"),
        (lambda t: t.update({"head.bias": torch.full((8,), torch.inf).half()}), "'head.bias' has values that are NaN"),
        (lambda t: t.clear(), "the card describes 4 blocks, units and local CNNs, but there are 0 tensors"),
    ],
)
def test_tensors_that_do_not_fit(saved: Path, change: Any, message: str) -> None:
    tensors, card = load_file(saved), read_card(saved).to_json()
    change(tensors)
    forge(saved, tensors, card)
    with pytest.raises(WeightsError, match=message) as error:
        load_weights(saved)
    assert str(saved) in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depth": 10**9}, "describes 1000000002 blocks, units"),
        ({"stem_stages": [[8, 10**9]]}, "blocks, units and local CNNs"),
        ({"stem_stages": 3}, "parameters cannot be built"),
        ({"depth": None}, "parameters cannot be built"),
        ({"dim": 10**30}, "parameters cannot be built"),
        ({"dim": 10**14}, "parameters cannot be built|must be"),
        ({"num_heads": 3}, "parameters cannot be built: dim 16 is not a multiple of num_heads 3"),
        ({"colour": "red"}, "unknown hyper-parameters colour"),
    ],
)
def test_forged_parameters(saved: Path, parameters: dict[str, Any], message: str) -> None:
    tensors, card = load_file(saved), read_card(saved)
    forge(saved, tensors, replace(card, parameters={**card.parameters, **parameters}).to_json())
    with pytest.raises(WeightsError, match=message):
        load_weights(saved)


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_devices_that_are_not_there(saved: Path, device: str) -> None:
    with pytest.raises(WeightsError, match=f"device '{device}' cannot be used"):
        load_weights(saved, device=device)


def test_card_is_readable_by_any_safetensors_reader(saved: Path, make_card: MakeCard) -> None:
    with safe_open(saved, "numpy") as file:
        assert json.loads(file.metadata()["apvit"])["labels"]["name"] == make_card().labels.name


def test_reading_a_card_needs_no_torch(saved: Path) -> None:
    code = (
        f"import sys; from apvit.weights import read_card; read_card({str(saved)!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
