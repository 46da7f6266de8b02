"""Whether the hub is there is found out at once."""

from __future__ import annotations

import socket

import pytest

from apvit.hub import hub_is_reachable


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def resolves(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    """The one thing a test cannot have is a network, so the resolver's answer is given."""

    def getaddrinfo(host: str, port: int) -> list[object]:
        assert (host, port) == ("huggingface.co", 443)
        if answer:
            return []
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("answer", [True, False])
def test_the_name_decides(monkeypatch, answer):
    resolves(monkeypatch, answer)
    assert hub_is_reachable() is answer


def test_a_proxy_may_know_the_name(monkeypatch):
    resolves(monkeypatch, False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    assert hub_is_reachable()


def test_told_to_stay_offline(monkeypatch):
    resolves(monkeypatch, True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert not hub_is_reachable()
