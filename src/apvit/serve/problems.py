"""What is said instead of an answer: problem details for HTTP (RFC 9457), for every error there is."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 (what RFC 9457 calls it)
    """A refusal or failure that the caller is told about.

    kind: what happened, in a word that stays the same ("queue-full"); it becomes the problem's type
    detail: one sentence, what is wrong and what to do
    more: further members of the JSON object
    """

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.headers, self.more = dict(headers or {}), more

    def response(self, request_id: str) -> JSONResponse:
        """The problem as it is sent."""
        content = {
            "type": f"urn:apvit:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            **self.more,
        }
        return JSONResponse(content, self.status, self.headers, MEDIA_TYPE)


def retry_later(status: int, kind: str, detail: str, seconds: int) -> Problem:
    """A problem that is over in so many seconds, as far as we can tell."""
    return Problem(status, kind, detail, headers={"Retry-After": str(seconds)})


def answer_with_problems(app: FastAPI) -> None:
    """Make every error of `app` a problem: ours, the framework's (404, 405), and options that do not fit."""
    app.add_exception_handler(Problem, _ours)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_options)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return error.response(request.state.request_id)


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    told = {
        404: f"there is nothing at {request.url.path}; see /openapi.json",
        405: f"{request.url.path} does not take {request.method}; see /openapi.json",
    }
    detail = told.get(error.status_code, error.detail)
    return Problem(error.status_code, kind, detail, headers=error.headers).response(request.state.request_id)


async def _of_options(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # Not the values themselves: what somebody sent by mistake should not come back and stand in a log.
    errors = [
        {"option": str(one["loc"][-1]), "reason": one["msg"].removeprefix("Value error, ")} for one in error.errors()
    ]
    detail = "; ".join(f"{one['option']}: {one['reason']}" for one in errors)
    return Problem(422, "options", detail, errors=errors).response(request.state.request_id)
