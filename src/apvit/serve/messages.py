"""What passes between the service and its worker.

A message to the worker is JSON (which requests, with which options), followed by the bytes of every picture; a message
from it is JSON. Nothing is pickled: whatever a picture might make of the worker, the service reads only JSON from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from .options import Options


class Upload(NamedTuple):
    """A picture as it came: the client's name for it, and the encoded bytes."""

    name: str
    data: bytes


class Asked(NamedTuple):
    """One request, as the worker gets it: what is wanted, how, of which pictures."""

    explain: bool
    options: Options
    uploads: list[Upload]


def send(connection: Connection, batch: Sequence[Asked]) -> None:
    """Hand a batch to the worker."""
    requests = [
        {"explain": a.explain, "options": a.options.model_dump(), "names": [u.name for u in a.uploads]} for a in batch
    ]
    connection.send_bytes(json.dumps(requests).encode())
    for asked in batch:
        for upload in asked.uploads:
            connection.send_bytes(upload.data)


def receive(connection: Connection) -> list[Asked]:
    """The inverse of `send`, in the worker. Raises EOFError at the end of the connection."""
    return [
        Asked(
            request["explain"],
            Options(**request["options"]),
            [Upload(name, connection.recv_bytes()) for name in request["names"]],
        )
        for request in json.loads(connection.recv_bytes())
    ]
