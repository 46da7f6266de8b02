"""The routes, and their description (OpenAPI at /openapi.json)."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from apvit import __version__

from . import examples, schema
from .limits import check_options
from .messages import Asked
from .middleware import Attended
from .options import Options
from .pages import add_page
from .problems import MEDIA_TYPE, Problem, answer_with_problems, retry_later
from .service import Service
from .uploads import FIELD, read_uploads

DESCRIPTION = """\
Names the expression of every face in pictures. Nothing is kept: a picture is in memory until it is answered, never on
a disk or in a log. An expression is not an emotion, and what this gives is no basis for a decision about a person.
"""

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "additionalProperties": False,
                "properties": {
                    FIELD: {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "binary"},
                        "description": "JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF, ...; one part for each picture.",
                    }
                },
            }
        }
    },
}

REFUSALS = {
    400: "The multipart body is malformed.",
    401: "The API key is missing or wrong.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or has too many pictures.",
    415: "The body is no multipart/form-data.",
    422: "An option does not fit, or none of the pictures can be used (`results` says why, one by one).",
    429: "Too many requests are waiting; Retry-After says when to come again.",
    500: "The service failed.",
    503: "The answer was not there in time, or uploads hold too much memory; Retry-After says when to come again.",
}


def create_app(service: Service) -> FastAPI:
    """The application of a service."""
    # No pages for reading the description: FastAPI's load their scripts from elsewhere.
    app = FastAPI(
        title="apvit", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.add_middleware(Attended, metrics=service.metrics)
    answer_with_problems(app)

    async def may_ask(
        shown: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        if not (shown and service.keys.admits(shown.credentials)):
            detail = "this service wants an API key; send it as Authorization: Bearer KEY"
            raise Problem(401, "unauthorised", detail, headers={"WWW-Authenticate": "Bearer"})

    guarded = [Depends(may_ask)] if service.keys else []

    @app.post(
        "/v1/recognize",
        dependencies=guarded,
        responses={200: _example(schema.Recognised, examples.RECOGNISED), **_refusals(*REFUSALS)},
        openapi_extra={"requestBody": _FORM},
    )
    async def recognize(request: Request, options: Annotated[Options, Query()]) -> Response:
        """Name the expression of every face in the pictures, in their order."""
        return await _answer(service, request, options, explain=False)

    @app.post(
        "/v1/explain",
        dependencies=guarded,
        responses={200: {"model": schema.Explained}, **_refusals(*REFUSALS)},
        openapi_extra={"requestBody": _FORM},
    )
    async def explain(request: Request, options: Annotated[Options, Query()]) -> Response:
        """The same, with what pooling kept of each face and which patches spoke for its expression."""
        return await _answer(service, request, options, explain=True)

    @app.get("/v1/models", dependencies=guarded, responses={200: {"model": schema.Models}, **_refusals(401)})
    async def models() -> Response:
        """The weights that this service runs, as their card describes them, and its limits."""
        return JSONResponse({"models": [service.batcher.model], "limits": asdict(service.settings.limits)})

    @app.get("/healthz", responses={200: {"model": schema.State}})
    async def healthz() -> Response:
        """The service is alive; if this does not answer, start it again."""
        return JSONResponse({"status": "alive"})

    @app.get("/readyz", responses={200: {"model": schema.State}, **_refusals(503)})
    async def readyz() -> Response:
        """The worker takes requests. While it is started again, requests wait for it all the same."""
        if not service.batcher.ready:
            raise retry_later(503, "not-ready", "the worker is being started", 5)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", dependencies=guarded, responses={200: {"content": {"text/plain": {}}}, **_refusals(401)})
    async def metrics() -> Response:
        """Counters in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    description = json.dumps(_describe(app)).encode()

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(description, media_type="application/json")

    add_page(app)
    return app


async def _answer(service: Service, request: Request, options: Options, *, explain: bool) -> Response:
    """The path of a request: checked, read, queued, recognised, answered."""
    start = time.perf_counter()
    check_options(options, service.settings)
    service.batcher.check_room()  # before the body is read, so that to be refused costs nothing
    with service.memory.share() as share:
        uploads = await read_uploads(request, service.settings.limits, share)
        job = await service.answer(request, Asked(explain, options, uploads))
    if job is None:
        return Response(status_code=499)  # to nobody
    answer = job.answer.result()
    if "refused" in answer:
        raise Problem(422, "options", answer["refused"])
    if "failed" in answer:
        raise Problem(500, "fault", "the service failed over this request; its log says why")
    results = answer["results"]
    _count(service, request, results)
    if all(result["error"] is not None for result in results):
        raise Problem(422, "no-usable-picture", "; ".join(result["error"] for result in results), results=results)
    seconds = {"waiting": job.waited, **answer["seconds"], "total": time.perf_counter() - start}
    return JSONResponse(
        {
            "results": results,
            "milliseconds": {name: round(1000 * value, 1) for name, value in seconds.items()},
            "batch_pictures": answer["pictures"],
        }
    )


def _count(service: Service, request: Request, results: list[dict[str, Any]]) -> None:
    bad = sum(result["error"] is not None for result in results)
    faces = sum(len(result["faces"]) for result in results)
    service.metrics.pictures.labels("used").inc(len(results) - bad)
    service.metrics.pictures.labels("unusable").inc(bad)
    service.metrics.faces.inc(faces)
    request.state.log = {"pictures": len(results), "unusable": bad, "faces": faces}


def _example(model: type, example: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "content": {"application/json": {"example": example}}}


def _refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": schema.ProblemDetails, "description": REFUSALS[code]} for code in codes}


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with problems under their own media type."""
    described = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for path in described["paths"].values():
        for operation in path.values():
            for code, response in operation["responses"].items():
                if code >= "400":
                    response["content"] = {MEDIA_TYPE: response["content"].pop("application/json")}
                    if code == "429":
                        response["content"][MEDIA_TYPE]["example"] = examples.PROBLEM
                if code in ("429", "503"):
                    response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return described
