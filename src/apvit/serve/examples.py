"""Examples in the OpenAPI description: the portrait of Grace Hopper in matplotlib, and a file that is no picture."""

from __future__ import annotations

from typing import Any

FACE: dict[str, Any] = {
    "box": [191.552, 72.012, 357.484, 291.716],
    "landmarks": [[238.6, 158.9], [313.3, 157.4], [276.5, 202.3], [246.1, 237.4], [309.8, 235.6]],
    "detection_score": 0.99998,
    "expression": "happiness",
    "probability": 0.95,
    "probabilities": {"neutral": 0.04, "happiness": 0.95, "surprise": 0.01},
}

RECOGNISED: dict[str, Any] = {
    "results": [
        {"source": "grace.jpg", "width": 512, "height": 600, "faces": [FACE], "error": None, "warning": None},
        {
            "source": "notes.txt",
            "width": None,
            "height": None,
            "faces": [],
            "error": "'notes.txt' is not a picture in a known format; save it as an 8-bit JPEG, PNG, WebP, TIFF, GIF "
            "or BMP",
            "warning": None,
        },
    ],
    "milliseconds": {
        "waiting": 5.1,
        "decoding": 7.9,
        "detecting": 28.6,
        "aligning": 0.9,
        "classifying": 8.5,
        "total": 53.1,
    },
    "batch_pictures": 2,
}

PROBLEM: dict[str, Any] = {
    "type": "urn:apvit:problem:queue-full",
    "title": "Too Many Requests",
    "status": 429,
    "detail": "64 requests are waiting, as many as may; try again later",
    "request_id": "b0f5b5d4a1c84f6f8b1c3f3f6c7f1f52",
}
