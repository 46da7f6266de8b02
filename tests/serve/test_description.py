"""OpenAPI: it describes what is answered, and nothing made up from it breaks the service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.serve.serving import Served

from apvit.serve import examples, schema


def test_the_description_is_whole(served: Served) -> None:
    described = served.client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/v1/recognize", "/v1/explain", "/v1/models", "/healthz", "/readyz", "/metrics"}
    recognize = described["paths"]["/v1/recognize"]["post"]
    assert {option["name"] for option in recognize["parameters"]} == {
        *("keep", "min_probability", "max_faces", "detector", "min_detection", "min_face")
    }
    assert all(option["description"] for option in recognize["parameters"])
    form = recognize["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["picture"]["items"]["format"] == "binary"
    assert set(recognize["responses"]) == {"200", *["400", "401", "408", "413", "415", "422", "429", "500", "503"]}
    for code, response in recognize["responses"].items():
        kind = "application/json" if code == "200" else "application/problem+json"
        assert list(response["content"]) == [kind]
        assert response["content"][kind]["schema"]
    assert recognize["responses"]["200"]["content"]["application/json"]["example"]["results"]
    assert "HTTPValidationError" not in json.dumps(described)


def test_the_examples_are_what_is_described(served: Served, photo: bytes) -> None:
    schema.Recognised.model_validate(examples.RECOGNISED)
    schema.ProblemDetails.model_validate(examples.PROBLEM)
    answer = served.post(("a", photo), ("b", b"bad")).json()
    schema.Recognised.model_validate(answer)
    assert set(answer["milliseconds"]) == set(examples.RECOGNISED["milliseconds"])
    schema.Explained.model_validate(served.post(photo, path="/v1/explain").json())
    schema.Models.model_validate(served.client.get("/v1/models").json())


def undeclared(value: Any, declared: dict[str, Any], components: dict[str, Any]) -> list[str]:
    """The keys in a JSON value that its schema does not name."""
    declared = components[declared["$ref"].rpartition("/")[2]] if "$ref" in declared else declared
    if "anyOf" in declared:
        return min((undeclared(value, one, components) for one in declared["anyOf"]), key=len)
    if isinstance(value, list):
        return [key for one in value for key in undeclared(one, declared.get("items", {}), components)]
    if not isinstance(value, dict) or declared.get("additionalProperties"):
        return []
    named = declared.get("properties", {})
    inner = [key for name in value if name in named for key in undeclared(value[name], named[name], components)]
    return [*(name for name in value if name not in named), *inner]


def test_nothing_is_sent_that_is_not_described(served: Served, photo: bytes) -> None:
    described = served.client.get("/openapi.json").json()
    answers = {
        "/v1/recognize": served.post(("a", photo), ("b", b"bad")),
        "/v1/explain": served.post(("a", photo), ("b", b"bad"), path="/v1/explain"),
        "/v1/models": served.client.get("/v1/models"),
        "/healthz": served.client.get("/healthz"),
    }
    for path, answer in answers.items():
        (operation,) = described["paths"][path].values()
        declared = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert undeclared(answer.json(), declared, described["components"]["schemas"]) == [], path
        broken = {**answer.json(), "more": 1}
        assert undeclared(broken, declared, described["components"]["schemas"]) == ["more"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nothing_made_up_from_the_description_breaks_the_service(served: Served) -> None:
    """Schemathesis: no 5xx, and every answer is one that is described."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import load_all_checks
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    load_all_checks()
    described = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    tried, losses = 0, served.metric("apvit_worker_losses_total")
    for found in described.get_all_operations():
        operation = found.ok()

        @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def answers(case: schemathesis.Case) -> None:
            # A form that fits the description may still hold no picture.
            response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
            assert response.status_code < 500

        answers()
        tried += 1
    assert tried == 6
    assert served.metric("apvit_worker_losses_total") == losses
