"""Around every request: its id, its line in the log, its metrics, and an answer even to what nobody foresaw."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics
from .problems import Problem

logger = logging.getLogger("apvit.serve")

CLIENT_GONE = 499
"""What the log calls a request whose client went away, as nginx does."""

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Attended:
    """The application, with every request attended."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Attend one request (an ASGI application)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = CLIENT_GONE
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass
        except Exception:  # whatever it is: logged whole, answered as a fault, and the service goes on
            logger.exception("request failed", extra={"fields": {"request_id": request_id}})
            if status == CLIENT_GONE:  # no answer was begun
                problem = Problem(500, "fault", "the service failed over this request; its log says why")
                await problem.response(request_id)(scope, receive, send_with_id)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - start)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        # The route, never the path: what a caller makes up would fill the metrics, and could hold anything.
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        fields = {
            "request_id": request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "milliseconds": round(1000 * seconds, 1),
            **scope["state"].get("log", {}),
        }
        logger.info("request", extra={"fields": fields})
