"""Reading listed faces: crops, errors, identities, order."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from apvit.data.errors import DataError
from apvit.data.listing import Listed, Listing
from apvit.data.pictures import NoFaceError, decode, pixel_group, read_face, work_on_faces
from apvit.data.sources import Source
from apvit.expressions import LABEL_SPACES


def listing_of(**fields) -> Listing:
    return Listing("folder", "", LABEL_SPACES["raf-db"], None, [], {}, **fields)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def source(tmp_path_factory, picture):
    root = tmp_path_factory.mktemp("pictures")
    Image.fromarray(picture).save(root / "a.png")
    with Source(root, "") as opened:
        yield opened


def test_a_picture_without_a_box_stays_as_shipped(source, picture):
    face = read_face(source, listing_of(), Listed("train", "a", "a.png", 0, landmarks=tuple(range(10))))
    assert face.shipped == (source.path / "a.png").read_bytes()
    np.testing.assert_array_equal(face.pixels, picture)
    assert (face.framing, face.landmarks) == ("as shipped", tuple(range(10)))


@settings(max_examples=60, deadline=None)
@given(*[st.floats(-60, 90) for _ in range(4)])
def test_a_box_is_cut_losslessly_where_the_picture_is(source, picture, x1, y1, x2, y2):
    points = tuple(float(i) for i in range(10))
    listed = Listed("train", "a", "a.png", 0, box=(x1, y1, x2, y2), landmarks=points)
    left, top = max(round(x1), 0), max(round(y1), 0)
    expected = picture[top : max(round(y2), 0), left : max(round(x2), 0)]
    if not expected.size:
        with pytest.raises(NoFaceError, match=r"a has the box .*, which holds nothing of 40x30 pixels"):
            read_face(source, listing_of(), listed)
        return
    face = read_face(source, listing_of(), listed)
    np.testing.assert_array_equal(face.pixels, expected)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(face.encode()))), expected)
    assert face.framing == "cropped to the given box"
    assert face.landmarks == tuple(value - (top if i % 2 else left) for i, value in enumerate(points))


@pytest.mark.parametrize(
    ("listed", "fields", "error", "message"),
    [
        ({"picture": "gone.png"}, {}, DataError, "gone.png is missing in"),
        ({}, {"size": (48, 48)}, DataError, "a.png is 40x30 pixels instead of 48x48"),
        ({"box": (float("nan"), 0, 1, 1)}, {}, NoFaceError, "a has a box that is not finite"),
        ({"picture": "b"}, {"read": lambda name: name.encode()}, DataError, "b is not a picture in a known format"),
    ],
)
def test_faces_that_cannot_be_read(source, listed, fields, error, message):
    entry = {"split": "train", "source": "a", "picture": "a.png", "label": 0} | listed
    with pytest.raises(DataError, match=message) as caught:
        read_face(source, listing_of(**fields), Listed(**entry))
    assert caught.type is error


def test_identity_is_that_of_the_pixels(picture):
    def encode(image, kind, **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return pixel_group(decode(buffer.getvalue(), "x"))

    grey = Image.fromarray(picture).convert("L")
    same = {encode(grey, "PNG"), encode(grey.convert("RGB"), "PNG", compress_level=1), encode(grey, "BMP")}
    assert len(same) == 1
    assert len(same | {encode(grey.transpose(Image.Transpose.ROTATE_90), "PNG"), encode(grey, "JPEG")}) == 3
    # As many equal pixels in another shape.
    assert pixel_group(np.zeros((2, 3, 3), np.uint8)) != pixel_group(np.zeros((3, 2, 3), np.uint8))


def test_work_is_in_order_and_names_what_fails(source):
    faces = [Listed("train", str(i), "gone.png" if i % 7 == 3 else "a.png", i) for i in range(400)]

    def work(face):
        time.sleep(0.0005 * (face.listed.label % 3))
        return face.listed.label

    results = list(work_on_faces(source, listing_of(), faces, work))
    assert [listed for listed, _ in results] == faces
    for listed, result in results:
        assert isinstance(result, DataError) if listed.picture == "gone.png" else result == listed.label
    # Whoever stops early waits for a few faces at most.
    begun = []
    stopped = work_on_faces(source, listing_of(), faces, begun.append)
    next(stopped)
    stopped.close()
    assert len(begun) < len(faces)
