"""API keys: where they come from, and that nothing is looked at without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from apvit.serve.app import create_app
from apvit.serve.keys import KeyRing, read_keys
from apvit.serve.service import Service
from apvit.serve.settings import Settings, SettingsError

KEY, OTHER = "correct-horse-battery", "staple-and-everything"


def test_keys_of_a_file_come_before_those_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APVIT_API_KEYS", f"{OTHER}, {KEY}")
    assert read_keys(None) == (OTHER, KEY)
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}  # of the page\n\n")
    assert read_keys(file) == (KEY,)
    monkeypatch.delenv("APVIT_API_KEYS")
    assert read_keys(None) == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no API key"),
        ("# only a comment", "holds no API key"),
        ("short", "API key 1 of .* is no ASCII text of at least 16"),
        (f"{KEY}\ntwo words of some length", "API key 2"),
        ("schlüsselschlüssel", "API key 1"),
    ],
)
def test_keys_that_will_not_do(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        read_keys(tmp_path / "keys")


def test_a_key_ring_admits_its_keys_and_no_others() -> None:
    ring = KeyRing((KEY, OTHER))
    assert ring
    assert not KeyRing(())
    assert ring.admits(KEY)
    assert ring.admits(OTHER)
    for key in ("", KEY[:-1], KEY + "x", KEY.upper(), "\udcff"):
        assert not ring.admits(key)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/recognize"), ("POST", "/v1/explain"), ("GET", "/v1/models"), ("GET", "/metrics")],
)
@pytest.mark.parametrize("header", [None, "", "Bearer", f"Basic {KEY}", f"Bearer {KEY}x", KEY])
def test_without_a_key_nothing_is_looked_at(method: str, path: str, header: str | None) -> None:
    async def ask(authorization: str | None) -> httpx.Response:
        app = create_app(Service(Settings(api_keys=(KEY,))))  # its worker is never started
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
            headers = {} if authorization is None else {"Authorization": authorization}
            assert (await client.get("/healthz")).status_code == 200
            return await client.request(method, path, headers=headers, params={"keep": "nonsense"})

    answer = asyncio.run(ask(header))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert asyncio.run(ask(f"Bearer {KEY}")).status_code in (200, 422)


def test_the_description_asks_for_a_key_only_where_one_is_needed() -> None:
    async def described(keys: tuple[str, ...]) -> dict[str, object]:
        app = create_app(Service(Settings(api_keys=keys)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
            return (await client.get("/openapi.json")).json()["paths"]["/v1/models"]["get"]

    assert "security" in asyncio.run(described((KEY,)))
    assert "security" not in asyncio.run(described(()))
