"""OpenAPI: it describes what is answered, and nothing made up from it breaks the service."""

from __future__ import annotations

import json

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
