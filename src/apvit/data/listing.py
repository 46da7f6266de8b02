"""What a dataset's layout says before any picture is read: one entry per annotated face.

Every dataset module turns its owner's layout into a `Listing`; preparing, aligning, verifying and splitting work on
listings alone, so that they exist once for all datasets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from apvit.expressions import LabelSpace


@dataclass(frozen=True, slots=True)
class Listed:
    """One annotated face of a dataset."""

    split: str
    """`train`, `valid` or `test`."""
    source: str
    """Unique name of the face inside the dataset: its picture's, with "#<face id>" behind it where it holds several."""
    picture: str
    """The file inside the `Source` that holds it."""
    label: int | None
    """Index in `Listing.labels`; None where the annotators gave none."""
    group: str | None = None
    """Subject, video or picture that must not straddle splits; None: only equal pixels make a group."""
    votes: tuple[int, ...] | None = None
    box: tuple[float, float, float, float] | None = None
    """x1, y1, x2, y2 in pixels of the picture, where it shows more than the face and the dataset says where."""
    landmarks: tuple[float, ...] | None = None
    """x, y of image-left eye, image-right eye, nose, image-left and image-right mouth corner in pixels of the picture:
    10 numbers, (0, 0) being the centre of the first pixel."""
    attributes: tuple[str, ...] | None = None
    """Values in the order of `Listing.attribute_names`, such as ("female", "asian", "20-39")."""


@dataclass(frozen=True)
class Published:
    """Counts that the dataset's owner or literature published for one split, and why others may differ."""

    per_class: dict[str, int]
    """{expression: labelled faces}; empty where only totals are known."""
    cause: str
    """The likely cause of a difference, as the end of a sentence: "release B has 3,999 validation pictures"."""
    certain: bool = True
    """False for counts that rest on memory or hearsay only (tag [M] of the reference)."""
    faces: int | None = None
    """Annotated faces, labelled or not, where that is known too."""
    labelled: int | None = None
    """Labelled faces; where it is not given, the sum of `per_class`."""

    @property
    def total(self) -> int | None:
        """Labelled faces; None where nothing is known of them."""
        return self.labelled if self.labelled is not None or not self.per_class else sum(self.per_class.values())


@dataclass(frozen=True)
class Listing:
    """A dataset as its layout describes it."""

    dataset: str
    """Name that `apvit data prepare` knows it by."""
    description: str
    """What was found there, in a few words: release, variant, protocol."""
    labels: LabelSpace
    protocol: str | None
    """The named choices that led to these labels and splits, such as "classes=7"."""
    faces: list[Listed]
    inputs: dict[str, str]
    """SHA-256 of the label files that were read, by name."""
    alignment: str | None = None
    """Alignment template whose framing the pictures have as they are; None where none is known."""
    vote_names: tuple[str, ...] | None = None
    vote_source: str | None = None
    attribute_names: tuple[str, ...] | None = None
    published: dict[str, Published] = field(default_factory=dict)
    """By split, where anything was published."""
    malformed: list[str] = field(default_factory=list)
    """One sentence per line or file that cannot be understood: errors in `verify`, a refusal in `prepare`."""
    warnings: list[str] = field(default_factory=list)
    """Sentences for whoever prepares or verifies."""
    read: Callable[[str], bytes] | None = None
    """Reads `Listed.picture`, encoded, where pictures are not files of the `Source` (FER2013's table of pixels)."""
    size: tuple[int, int] | None = None
    """Width and height that the dataset promises of every picture; another size is an error."""
    also_in_test: frozenset[str] | None = None
    """`Listed.source` of faces that also stand in a test split that is not here, where somebody told."""
    grouping: str | None = None
    """How groups were found in the pictures' names, empty for none; None where the dataset itself names groups."""
    split_protocols: dict[str, str] = field(default_factory=dict)
    """The protocol of each split whose protocol is not `protocol`."""
