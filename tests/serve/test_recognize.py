"""What a request is answered: the same as `apvit recognize` gives, whatever the options."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict

import pytest
from PIL import Image
from tests.recognition.spoiling import spoil
from tests.serve.serving import SMALL, Served, encoded

from apvit.recognition import Recognizer
from apvit.serve.inference import Recognizers
from apvit.serve.messages import Asked, Upload
from apvit.serve.options import Options
from apvit.serve.settings import Limits, Network


def test_the_results_are_those_of_apvit_recognize(served: Served, photo: bytes, crowd: bytes) -> None:
    answer = served.post(("a.jpg", photo), ("no.txt", b"no picture"), ("c.png", crowd), ("empty.png", b""), max_faces=2)
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["results", "milliseconds", "batch_pictures"]
    assert set(body["milliseconds"]) == {"waiting", "decoding", "detecting", "aligning", "classifying", "total"}
    assert body["milliseconds"]["total"] > 0
    recognizer = Recognizer(max_faces=2)
    first, bad, third, empty = body["results"]
    for result, data, name in ((first, photo, "a.jpg"), (third, crowd, "c.png")):
        (found,) = recognizer.recognitions([data])
        expected = found.to_dict() | {"source": name}
        assert list(result) == list(expected)
        assert [list(face) for face in result["faces"]] == [list(face) for face in expected["faces"]]
        for face, other in zip(result["faces"], expected["faces"], strict=True):
            assert face["expression"] == other["expression"]
            assert face["box"] == pytest.approx(other["box"], abs=0.01)
            assert face["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)
    assert len(third["faces"]) == 2
    assert bad == {
        "source": "no.txt",
        "width": None,
        "height": None,
        "faces": [],
        "error": "'no.txt' is not a picture in a known format; save it as an 8-bit JPEG, PNG, WebP, TIFF, GIF or BMP",
        "warning": None,
    }
    assert empty["error"].startswith("'empty.png' is empty")


@pytest.mark.parametrize("explain", [False, True])
def test_a_face_that_was_left_out_is_told(crowd: bytes, explain: bool) -> None:
    recognizers = Recognizers(Network(), Limits())
    spoil(recognizers.get(Options(), explain=explain), -1)
    (answer,) = recognizers.answer([Asked(explain, Options(), [Upload("c.png", crowd)])])
    (result,) = answer["results"]
    assert (result["source"], len(result["faces"]), result["error"]) == ("c.png", 2, None)
    assert result["warning"].startswith("1 of 3 faces was left out: the landmarks all lie on one point")


@pytest.mark.parametrize(
    ("options", "faces", "named"),
    [
        ({}, 1, True),
        ({"min_probability": 1}, 1, False),
        ({"min_detection": 1}, 0, None),
        ({"min_face": 250}, 0, None),
        ({"detector": "none"}, 1, True),
        ({"detector": "mtcnn"}, 1, True),
        ({"keep": "0.3"}, 1, True),
        ({"keep": "40:1,1,.5,.5"}, 1, True),
    ],
)
def test_options_mean_what_they_mean_to_apvit_recognize(
    served: Served, photo: bytes, options: dict[str, object], faces: int, named: bool | None
) -> None:
    answer = served.post(photo, **options)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    assert len(result["faces"]) == faces
    if named is not None:
        assert (result["faces"][0]["expression"] is not None) == named
    if options == {"detector": "none"}:
        assert result["faces"][0]["box"] == [0, 0, 256, 256]
        assert result["faces"][0]["landmarks"] is None


def test_the_dial_changes_what_is_kept(served: Served, photo: bytes) -> None:
    counts = []
    for keep in (None, "0.25"):
        answer = served.post(photo, path="/v1/explain", **({} if keep is None else {"keep": keep}))
        (face,) = answer.json()["results"][0]["faces"]
        counts.append(sum(map(sum, face["explanation"]["kept"])))
    assert counts[1] == 36
    assert counts[0] > counts[1]


def test_an_explanation_has_all_a_page_needs(served: Served, photo: bytes) -> None:
    answer = served.post(photo, b"bad", path="/v1/explain")
    assert answer.status_code == 200
    good, bad = answer.json()["results"]
    assert bad["faces"] == []
    assert bad["error"]
    (face,) = good["faces"]
    why = face["explanation"]
    assert len(why["kept"]) == len(why["patch_scores"]) == why["grid"] == 12
    assert next(iter(why["relevance"])) == face["expression"]
    assert [len(why["corners"]), len(why["corners"][0]), len(why["corners"][0][0])] == [13, 13, 2]
    with Image.open(io.BytesIO(base64.b64decode(why["face"].removeprefix("data:image/png;base64,")))) as aligned:
        assert aligned.size == (48, 48)
    (plain,) = served.post(photo).json()["results"][0]["faces"]
    assert face["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-4)


def test_pictures_of_every_kind(served: Served, portrait: Image.Image) -> None:
    small = portrait.resize((200, 200))
    for form, picture in (
        ("JPEG", small.convert("CMYK")),
        ("PNG", small.convert("P")),
        ("PNG", small.convert("RGBA")),
        ("WEBP", small),
        ("GIF", small),
        ("BMP", small),
        ("TIFF", small),
    ):
        (result,) = served.post(encoded(picture, form)).json()["results"]
        assert (result["width"], len(result["faces"])) == (200, 1), form


def test_the_models(served: Served) -> None:
    body = served.client.get("/v1/models").json()
    (model,) = body["models"]
    assert model["name"] == "apvit_tiny"
    assert "happiness" in model["expressions"]
    assert model["pooling"]["grid"] == 12
    assert model["metrics"]
    assert body["limits"] == asdict(SMALL.limits)


def test_health_readiness_and_metrics(served: Served, photo: bytes) -> None:
    assert served.client.get("/healthz").json() == {"status": "alive"}
    assert served.client.get("/readyz").json() == {"status": "ready"}
    before = served.metric("apvit_requests_total", route="/v1/recognize", status="200")
    faces = served.metric("apvit_faces_total")
    served.post(photo)
    served.client.get("/an/invented/path")
    text = served.client.get("/metrics").text
    assert f'apvit_requests_total{{route="/v1/recognize",status="200"}} {before + 1}' in text
    assert f"apvit_faces_total {faces + 1}" in text
    assert "apvit_worker_ready 1.0" in text
    assert "apvit_waiting_requests 0.0" in text
    assert "apvit_held_bytes 0.0" in text
    assert "invented" not in text
