"""`apvit serve`: the service."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from apvit.cli.options import NETWORK, Detector, DetectorModel, Device, Engine, Weights
from apvit.files import reason

LIMITS, BATCHES = "Limits of a request", "Batches"


def serve(
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: a free one.")] = 8000,
    api_keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="API keys, one a line; a caller must show one. Else from the environment (APVIT_API_KEYS).",
        ),
    ] = None,
    weights: Weights = "apvit_tiny",
    keep: Annotated[
        str | None,
        typer.Option(metavar="KEEP", help="Compute dial of requests that say nothing.", rich_help_panel=NETWORK),
    ] = None,
    engine: Engine = "auto",
    device: Device = "auto",
    detector: Detector = "mtcnn",
    detector_model: DetectorModel = None,
    max_body: Annotated[
        int, typer.Option(metavar="BYTES", min=1, help="Bytes of a request.", rich_help_panel=LIMITS)
    ] = 20_000_000,
    max_held: Annotated[
        int, typer.Option(metavar="BYTES", min=1, help="Bytes of all uploads together.", rich_help_panel=LIMITS)
    ] = 400_000_000,
    max_pixels: Annotated[
        int, typer.Option(metavar="N", min=1, help="Width x height of a picture.", rich_help_panel=LIMITS)
    ] = 25_000_000,
    max_pictures: Annotated[
        int, typer.Option(metavar="N", min=1, help="Pictures in a request.", rich_help_panel=LIMITS)
    ] = 16,
    max_faces: Annotated[
        int, typer.Option(metavar="N", min=1, help="Faces in a picture.", rich_help_panel=LIMITS)
    ] = 100,
    max_waiting: Annotated[
        int, typer.Option(metavar="N", min=1, help="Requests that wait for the worker.", rich_help_panel=LIMITS)
    ] = 64,
    max_seconds: Annotated[
        float,
        typer.Option(
            metavar="S", min=0.1, help="For a request to arrive, and again for its answer.", rich_help_panel=LIMITS
        ),
    ] = 30.0,
    batch_pictures: Annotated[
        int, typer.Option(metavar="N", min=1, help="Pictures that are looked at together.", rich_help_panel=BATCHES)
    ] = 16,
    batch_ms: Annotated[
        float,
        typer.Option(
            metavar="MS", min=0, max=1000, help="How long the first waits for others.", rich_help_panel=BATCHES
        ),
    ] = 5.0,
) -> None:
    """Recognise over HTTP: POST pictures to /v1/recognize, read /openapi.json.

    Ends on Ctrl-C or SIGTERM, after answering what it has accepted. Logs are JSON lines on standard error; uploads are
    neither stored nor logged.
    """
    import sys

    from apvit.serve.keys import read_keys
    from apvit.serve.running import listen, run
    from apvit.serve.settings import Limits, Network, Settings

    settings = Settings(
        Network(weights, detector, detector_model, engine, device, keep),
        Limits(
            body_bytes=max_body,
            held_bytes=max_held,
            pixels=max_pixels,
            pictures=max_pictures,
            faces=max_faces,
            waiting=max_waiting,
            body_seconds=max_seconds,
            request_seconds=max_seconds,
        ),
        batch_pictures,
        batch_ms,
        read_keys(api_keys),
    )
    if not settings.api_keys and not _is_local(host):
        print(f"warning: anybody who reaches {host}:{port} may ask; give --api-keys FILE", file=sys.stderr)
    try:
        listener = listen(host, port)
    except OSError as error:
        raise ValueError(f"cannot listen on {host}:{port} ({reason(error)}); choose another --port") from None
    with listener:
        run(settings, listener)


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
