"""What a verification tells: findings, and the counts of each split beside the published ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal[
    "malformed",
    "unreadable",
    "boxes",
    "notes",
    "counts",
    "duplicates",
    "leaks",
    "near-duplicates",
    "groups",
    "contradictions",
]


Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; errors make the data unusable, warnings make figures doubtful."""

    severity: Severity
    kind: Kind
    message: str
    """One sentence with the numbers."""
    details: tuple[str, ...] = ()
    """What it concerns, one line each."""


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split beside the published ones, None where nothing was published."""

    split: str
    faces: int
    published_faces: int | None
    labelled: int
    published_labelled: int | None
    per_class: dict[str, int]
    published_per_class: dict[str, int] | None


@dataclass(frozen=True)
class Report:
    """The result of a verification."""

    dataset: str
    source: str
    description: str
    """What was found there, in a few words."""
    splits: tuple[SplitCounts, ...]
    findings: tuple[Finding, ...]

    def failed(self, *, strict: bool = False) -> bool:
        """Whether there is an error, or with `strict` any finding."""
        return any(strict or finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """This as JSON values."""
        return asdict(self)
