"""MTCNN: a cascade of three small nets over a pyramid, with the five landmarks that alignment needs.

The paper's faces were aligned with it. Stages and suppression follow Zhang et al. 2016, and a second look at every face
is added (`MTCNN._look_again`); the nets are in `mtcnn_nets.py` (torch) and `mtcnn_graphs.py` (ONNX Runtime). Boxes are
kept as edges in floats from the first window to the result, never rounded to pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from apvit.faces.alignment import AlignmentError, AlignmentTemplate, align
from apvit.faces.boxes import Boxes, clip, suppress, to_squares
from apvit.faces.detection import DEFAULT_MIN_FACE, Detection, DetectorError, Runtime
from apvit.faces.mtcnn_weights import find_weights, load_arrays
from apvit.runtimes import torch_alone

Picture = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]
Net: TypeAlias = Callable[[Picture], list[Array]]
"""Pixels uint8 [B, H, W, 3] in, the outputs of one of the three nets out."""

DEFAULT_MIN_SCORE = 0.8
"""The score after the second look below which a face is left out; chosen by benchmarks/detection/thresholds.py."""

PROPOSAL_SCORE = 0.6
REFINED_SCORE = 0.2
DOUBTFUL_SCORE = 0.2
"""What each net must give for the next one to look. The refining net's is less than the published 0.7, because the
second look tells faces from the rest in the end; what that is worth and costs is measured by
benchmarks/detection/thresholds.py."""
FOLLOWED_SCORE = 0.7
"""The output net's score below which `follow` has lost a face: lower than for one that nobody knew of before."""
_WINDOW, _STRIDE = 12, 2  # the proposal net's receptive field and step, pixels
_FACTOR = 0.709  # from one level of the pyramid to the next
# Where the output net's own landmarks lie in its view of an upright face: the median of those it gives 0.99 or more.
_UPRIGHT = AlignmentTemplate(
    "mtcnn-upright", 48, ((14.5, 17.7), (32.5, 17.7), (23.5, 27.9), (15.9, 36.4), (31.1, 36.4))
)
_MIRRORED = [1, 0, 2, 4, 3]  # the landmarks' order in a mirror image
# Score lost when landmarks move by a whole side of the view: those of faces move by a seventieth, others by five times
# as much (medians).
_PER_SIDE_MOVED = 1.9
_PATCHES = 512  # patches per forward pass, to bound memory
_STRIP_PIXELS = 1 << 18  # input pixels per pass of the proposal net: what it makes of them still fits a CPU's cache


class MTCNN:
    """A Detector; see `create_detector` for the arguments. Raises DetectorError."""

    def __init__(
        self,
        *,
        device: str = "cpu",
        runtime: Runtime = "torch",
        min_face: float = DEFAULT_MIN_FACE,
        min_score: float | None = None,
    ) -> None:
        self.min_face = min_face
        self.min_score = DEFAULT_MIN_SCORE if min_score is None else min_score
        self.runtime = _choose_runtime(runtime, device)
        folder = find_weights()
        arrays = [load_arrays(folder, name) for name in ("pnet", "rnet", "onet")]
        make = _onnx_nets if self.runtime == "onnx" else _torch_nets
        self._pnet, self._rnet, self._onet = make(arrays, device)

    def detect(self, pictures: Sequence[Picture]) -> list[list[Detection]]:
        """The faces of each picture uint8 [H, W, 3] RGB, best score first; pictures may differ in size."""
        if not pictures:
            return []
        candidates = self._propose(pictures)
        candidates = self._refine(pictures, candidates)
        seen = self._look_again(pictures, self._output(pictures, candidates))
        return [[face for face in faces if face.score >= self.min_score] for faces in seen]

    def _propose(self, pictures: Sequence[Picture]) -> list[Boxes]:
        """For each picture the squares [N, 4] that the proposal net finds worth a closer look."""
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, picture in enumerate(pictures):
            by_shape[picture.shape].append(index)
        found: list[list[tuple[Boxes, Array, Array]]] = [[] for _ in pictures]
        for (height, width, _), indices in by_shape.items():
            for level_height, level_width in _pyramid(height, width, self.min_face):
                level = np.stack([_resize(pictures[i], level_height, level_width) for i in indices])
                scores, corrections = self._scan(level)
                for i, score, correction in zip(indices, scores, corrections, strict=True):
                    rows, columns = np.nonzero(score > PROPOSAL_SCORE)
                    if len(rows) == 0:
                        continue
                    corner = np.stack([columns, rows], axis=1) * _STRIDE
                    shrunk = np.array([width / level_width, height / level_height])
                    boxes = np.concatenate([corner * shrunk, (corner + _WINDOW) * shrunk], axis=1).astype(np.float32)
                    picked = score[rows, columns]
                    kept = suppress(boxes, picked, 0.5)
                    found[i].append((boxes[kept], picked[kept], correction[:, rows, columns].T[kept]))
        return [_merge(levels) for levels in found]

    def _scan(self, level: Picture) -> tuple[Array, Array]:
        """The proposal net over same-sized pictures [B, H, W, 3]: scores [B, h, w] and corrections [B, 4, h, w].

        In strips of rows, which gives the same numbers: a row of the result sees twelve rows of the input.
        """
        batch, height, width, _ = level.shape
        total = -(-(height - 2) // _STRIDE) - 4
        step = max(16, _STRIP_PIXELS // (batch * width * _STRIDE))
        parts = []
        for first in range(0, total, step):
            last = min(first + step, total)
            end = height if last == total else (last - 1) * _STRIDE + _WINDOW
            parts.append(self._pnet(level[:, first * _STRIDE : end]))
        scores, corrections = zip(*parts, strict=True)
        return np.concatenate(scores, axis=1), np.concatenate(corrections, axis=2)

    def _refine(self, pictures: Sequence[Picture], candidates: list[Boxes]) -> list[Boxes]:
        scores, corrections = self._run_patches(self._rnet, 24, pictures, candidates)
        result = []
        for boxes, score, correction in zip(candidates, scores, corrections, strict=True):
            good = np.flatnonzero(score > REFINED_SCORE)
            good = good[suppress(boxes[good], score[good], 0.7)]
            result.append(to_squares(_correct(boxes[good], correction[good])))
        return result

    def _output(self, pictures: Sequence[Picture], candidates: list[Boxes]) -> list[list[Detection]]:
        scores, corrections, points = self._run_patches(self._onet, 48, pictures, candidates)
        result = []
        for picture, squares, score, correction, point in zip(
            pictures, candidates, scores, corrections, points, strict=True
        ):
            landmarks = _place(squares, point)
            boxes = clip(_correct(squares, correction), *picture.shape[:2])
            good = np.flatnonzero((score >= DOUBTFUL_SCORE) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
            good = good[suppress(boxes[good], score[good], 0.7, over="smaller")]
            result.append(
                [Detection(tuple(boxes[i].tolist()), float(score[i]), landmarks[i].astype(np.float32)) for i in good]
            )
        return result

    def _look_again(self, pictures: Sequence[Picture], found: list[list[Detection]]) -> list[list[Detection]]:
        """The same faces, each with a score from four looks instead of one, best first.

        The output net's first look cannot part faces from what resembles them: crossed arms get more than many a turned
        or half hidden face. So it looks again: at the box as it corrected it itself, at what lies under its landmarks
        turned upright, and at the mirror image of that. A face looks like one each time, and in its mirror image the
        landmarks lie where they lay; those of arms or gravel move. The score is the mean of the four looks, less what
        the landmarks moved. What cannot be turned upright is no face.
        """
        faces, views = [], []
        for index, picture in enumerate(pictures):
            for face in found[index]:
                try:
                    upright = align(picture, face.steady_landmarks, _UPRIGHT)
                except AlignmentError:
                    continue
                (square,) = to_squares(np.array([face.box], np.float32))
                views += [_patch(picture, square.tolist(), 48), upright, upright[:, ::-1]]
                faces.append((index, face))
        scores, _, points = self._run(self._onet, 48, iter(views))
        _, plain, mirrored = points.reshape(-1, 3, 2, 5).transpose(1, 0, 2, 3)  # x, y in sides of the view
        mirrored = np.stack([1 - mirrored[:, 0], mirrored[:, 1]], axis=1)[..., _MIRRORED]
        moved = np.sqrt(np.square(plain - mirrored).sum(axis=1).mean(axis=1))
        result: list[list[Detection]] = [[] for _ in pictures]
        for (index, face), looks, distance in zip(faces, scores.reshape(-1, 3), moved, strict=True):
            score = (face.score + float(looks.sum())) / 4 - _PER_SIDE_MOVED * float(distance)
            result[index].append(replace(face, score=max(score, 0.0)))
        return [sorted(faces, key=lambda face: -face.score) for faces in result]

    def follow(self, picture: Picture, boxes: Sequence[tuple[float, float, float, float]]) -> list[Detection | None]:
        """The faces that were at `boxes` (x1, y1, x2, y2) one frame ago, where they are in `picture`; None if gone.

        Only the output net runs, on the square around each box: it corrects a box by a good part of its side.
        """
        if not boxes:
            return []
        squares = to_squares(np.asarray(boxes, np.float32))
        (scores,), (corrections,), (points,) = self._run_patches(self._onet, 48, [picture], [squares])
        moved = clip(_correct(squares, corrections), *picture.shape[:2])
        landmarks = _place(squares, points)
        good = (scores >= FOLLOWED_SCORE) & (moved[:, 2:] > moved[:, :2]).all(axis=1)
        return [
            Detection(tuple(moved[i].tolist()), float(scores[i]), landmarks[i].astype(np.float32)) if good[i] else None
            for i in range(len(boxes))
        ]

    def _run_patches(self, net: Net, size: int, pictures: Sequence[Picture], squares: list[Boxes]) -> list[list[Array]]:
        """`net` over all squares of all pictures together; each of its outputs, split again by picture."""
        patches = (
            _patch(picture, square, size)
            for picture, wanted in zip(pictures, squares, strict=True)
            for square in wanted.tolist()
        )
        ends = np.cumsum([len(wanted) for wanted in squares])[:-1]
        return [np.split(output, ends) for output in self._run(net, size, patches)]

    def _run(self, net: Net, size: int, patches: Iterator[Picture]) -> list[Array]:
        """Each output of `net` for all patches uint8 [size, size, 3]."""
        outputs = [net(chunk) for chunk in _chunks(patches, _PATCHES)]
        if not outputs:
            outputs = [net(np.zeros((0, size, size, 3), np.uint8))]
        return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def _choose_runtime(preferred: Runtime, device: str) -> Runtime:
    """What the nets run in on this device and with what is installed; see `create_detector`."""
    from apvit.faces import mtcnn_graphs

    has_torch, has_onnx = find_spec("torch") is not None, mtcnn_graphs.is_installed()
    if device == "cpu" and has_onnx and (preferred == "onnx" or not has_torch):
        return "onnx"
    if has_torch:
        return "torch"
    if device == "cpu":
        raise DetectorError("MTCNN needs torch or ONNX Runtime; run: pip install 'apvit[onnx]'")
    raise DetectorError(f"MTCNN needs torch on the device {device!r}; install it, or try device='cpu'")


def _torch_nets(arrays: list[list[Array]], device: str) -> list[Net]:
    from apvit.faces.mtcnn_nets import ONet, PNet, RNet, TorchNet

    try:
        with torch_alone("cpu", DetectorError):
            return [TorchNet(net(layers), device) for net, layers in zip((PNet, RNet, ONet), arrays, strict=True)]
    except (DetectorError, AssertionError) as error:  # AssertionError: torch built without CUDA
        raise DetectorError(f"MTCNN cannot run on the device {device!r}; try device='cpu'") from error


def _onnx_nets(arrays: list[list[Array]], device: str) -> list[Net]:
    from apvit.faces.mtcnn_graphs import OnnxNet, onet, pnet, rnet

    return [
        OnnxNet(graph(layers).SerializeToString()) for graph, layers in zip((pnet, rnet, onet), arrays, strict=True)
    ]


def _pyramid(height: int, width: int, min_face: float) -> Iterator[tuple[int, int]]:
    """The sizes at which a window of the proposal net covers faces of min_face, min_face / 0.709, and so on."""
    scale = _WINDOW / min_face
    while min(height, width) * scale >= _WINDOW:
        yield round(height * scale), round(width * scale)
        scale *= _FACTOR


def _resize(picture: Picture, height: int, width: int) -> Picture:
    shrinks = height < picture.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), dtype=np.uint8)


def _patch(picture: Picture, square: list[float], size: int) -> Picture:
    """The part of `picture` under `square`, uint8 [size, size, 3], black beyond the border as in training."""
    x1, y1, x2, y2 = (round(edge) for edge in square)
    x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    height, width = picture.shape[:2]
    inside = picture[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        whole = np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
        if inside.size:
            top, left = max(-y1, 0), max(-x1, 0)
            whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        inside = whole
    return _resize(inside, size, size)


def _chunks(patches: Iterator[Picture], count: int) -> Iterator[Picture]:
    chunk: list[Picture] = []
    for patch in patches:
        chunk.append(patch)
        if len(chunk) == count:
            yield np.stack(chunk)
            chunk = []
    if chunk:
        yield np.stack(chunk)


def _merge(levels: list[tuple[Boxes, Array, Array]]) -> Boxes:
    """One picture's proposals of all levels, suppressed across levels, corrected and made square: [N, 4]."""
    if not levels:
        return np.zeros((0, 4), np.float32)
    boxes, scores, corrections = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    kept = suppress(boxes, scores, 0.7)
    return to_squares(_correct(boxes[kept], corrections[kept]))


def _place(squares: Boxes, points: Array) -> Array:
    """The output net's landmarks [N, 10], in units of the squares [N, 4], as points of the picture [N, 5, 2]."""
    side = (squares[:, 2:] - squares[:, :2])[:, None]
    return np.asarray(squares[:, None, :2] + side * points.reshape(-1, 2, 5).transpose(0, 2, 1), np.float32)


def _correct(boxes: Boxes, corrections: Array) -> Boxes:
    """Boxes [N, 4] moved by a net's corrections [N, 4], which are in units of the box's width and height."""
    size: Any = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(boxes + corrections * np.tile(size, 2), dtype=np.float32)
