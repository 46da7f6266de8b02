"""Start a service on a socket, and end it when it is told to: what was accepted is answered first."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket

import uvicorn

from .app import create_app
from .connections import guarded
from .logs import json_lines
from .service import Service
from .settings import Settings

logger = logging.getLogger("apvit.serve")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is a free one. Raises OSError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; a second one ends at once. Raises WorkerError where the network does not load."""
    service = Service(settings)
    server = create_server(service)
    with json_lines(), asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_serve(service, server, listener))


def create_server(service: Service) -> uvicorn.Server:
    """The HTTP server of a service."""
    limits = service.settings.limits
    return uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            http=guarded(limits),
            lifespan="off",  # the service itself is begun before and ended after the server
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(limits.body_seconds + limits.request_seconds),
        )
    )


async def _serve(service: Service, server: uvicorn.Server, listener: socket.socket) -> None:
    async with service:
        # uvicorn sends itself the signal that ended it once more, when it has finished; then there is more to finish.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        logger.info("listening", extra={"fields": {"url": url, "weights": service.settings.network.weights}})
        await server.serve(sockets=[listener])
        logger.info("finishing")
    logger.info("ended")
