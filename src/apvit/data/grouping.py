r"""Groups by name: the subject, sequence or video that a picture's name says it is of.

Frames of one video are nearly equal, and a person in train and in valid makes figures look better than they are. So the
names that datasets and video tools give to files are recognized. Whoever knows better gives a pattern; its first
capture group names the group: `^(S\d+)_` makes one group of S010_001_00000014.png and S010_002_00000003.png.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from apvit.data.errors import DataError
from apvit.files import counted

AUTO, NONE = "auto", "none"
"""What may be given instead of a pattern: recognize names, or make no groups."""

_SUBJECT = "(?:subject|subj|sub|person|participant|patient|actor|speaker|user|id|s|p)[ _-]?[0-9]+"
_VIDEO = "(?:video|vid|clip|sequence|seq|film|movie|scene|session|episode)[ _-]?[0-9]+"
_FACES = "(?:AF|AN|DI|FE|HA|NE|SA|SU)"


class _Pattern(NamedTuple):
    regex: str
    certain: bool = True
    """False where names that say nothing of groups may look alike."""


_PATTERNS = (
    _Pattern(r"(?i)^(S\d{3})_\d{3}_\d{8}\."),  # CK+: S010_001_00000014.png
    _Pattern(rf"(?i)^([A-Z]{{2}})\.{_FACES}\d\.\d+\."),  # JAFFE: KA.AN1.39.tiff
    _Pattern(rf"(?i)^[AB]([FM]\d{{2}}){_FACES}(?:S|HL|HR|FL|FR)\."),  # KDEF: AF01ANS.JPG; A and B are sessions
    _Pattern(rf"(?i)^([FM]\d{{4}})_{_FACES}\d{{2}}"),  # BU-3DFE: F0001_AN01WH_F2D.bmp
    _Pattern(r"(?i)^(\d{2}[FM])_[A-Z]{2}_[A-Z]\."),  # NimStim: 01F_AN_C.BMP
    _Pattern(r"(?i)^Rafd\d+_(\d+)_"),  # RaFD: Rafd090_01_Caucasian_female_angry_frontal.jpg
    _Pattern(r"(?i)^(\d{3})_[ymo]_[mf]_[a-z]_[ab]\."),  # FACES: 004_o_m_a_a.jpg
    _Pattern(r"^(?:\d{2}-){6}(\d{2})(?!\d)"),  # RAVDESS: 03-01-05-01-02-01-12.mp4, the last number is the actor
    _Pattern(r"(?i)^(\d{4})_[A-Z]{3}_(?:ANG|DIS|FEA|HAP|NEU|SAD)_"),  # CREMA-D: 1001_DFA_ANG_XX.flv
    _Pattern(r"^(.+)_\d{9}_\d{8}\."),  # SFEW and AFEW: Airheads_000519240_00000005.png
    _Pattern(rf"(?i)(?:^|/)({_SUBJECT})/"),  # Oulu-CASIA: P001/Anger/000.jpeg
    _Pattern(rf"(?i)^({_SUBJECT})[_.-].*\."),  # subject3_happy_1.jpg
    _Pattern(rf"(?i)(?:^|/)({_VIDEO})/"),  # clip3/0034.jpg
    _Pattern(r"(?i)^(.+?)[ _.-]*frame[ _.-]*\d+\."),  # video12_frame_0034.jpg
    _Pattern(r"^(.*\d.*?)[_-]\d{3,}\.", certain=False),  # clip-003_000045.png
)
"""In the order in which they are tried."""


class Groups(NamedTuple):
    """The groups of N pictures."""

    names: list[str | None]
    """[N] group, None where the name says none."""
    described: str
    """How they were found, for people; empty where there are none."""
    patterns: tuple[str, ...] = ()
    """Those that were used."""


def find_groups(paths: Sequence[str], classes: Sequence[str | None], pattern: str = AUTO) -> Groups:
    """The groups that the names of N pictures say.

    paths: the pictures, with forward slashes. classes: their labels, because a name that only repeats the label is no
    group's. pattern: a regular expression whose first capture group names the group, searched for in the file's name,
    or in the whole path where the expression has a slash; "auto" for the names that are known, "none" for no groups.

    Raises DataError for a pattern that is no regular expression, captures nothing or fits no picture.
    """
    if pattern == NONE:
        return Groups([None] * len(paths), "")
    if pattern != AUTO:
        names = _captured(_compiled(pattern), paths)
        if not any(names):
            raise DataError(f"the group pattern {pattern} fits none of {counted(paths, 'picture')}, such as {paths[0]}")
        return _described(names, {pattern: sum(name is not None for name in names)})
    found: list[str | None] = [None] * len(paths)
    used: dict[str, int] = {}
    for regex, certain in _PATTERNS:
        rest = [i for i, name in enumerate(found) if name is None]
        names = _captured(re.compile(regex), [paths[i] for i in rest])
        if _make_groups(names, {classes[i] for i in rest}, certain=certain):
            used[regex] = sum(name is not None for name in names)
            for i, name in zip(rest, names, strict=True):
                found[i] = name
    return _described(found, used)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"the group pattern {pattern} is no regular expression: {error}") from None
    if not compiled.groups:
        raise DataError(f"the group pattern {pattern} captures nothing: put ( ) around the part that names the group")
    return compiled


def _captured(pattern: re.Pattern[str], paths: Iterable[str]) -> list[str | None]:
    whole = "/" in pattern.pattern
    matches = (pattern.search(path if whole else path.rpartition("/")[2]) for path in paths)
    return [(match[1] or None) if match else None for match in matches]


def _make_groups(names: Sequence[str | None], classes: Iterable[str | None], *, certain: bool) -> bool:
    """Whether what a known pattern captured are groups rather than one name for all, or a name for each picture."""
    sizes = Counter(name for name in names if name is not None)
    if certain or not sizes:
        return 1 < len(sizes) < sizes.total()
    return (
        sizes.total() >= 0.9 * len(names)
        and len(set(classes)) < len(sizes) <= sizes.total() / 2
        and max(sizes.values()) <= sizes.total() / 2
    )


def _described(names: list[str | None], used: dict[str, int]) -> Groups:
    count = len({name for name in names if name is not None})
    grouped = sum(name is not None for name in names)
    if not grouped:
        return Groups(names, "")
    of = f"{grouped:,} of {counted(names, 'picture')}" if grouped < len(names) else counted(grouped, "picture")
    patterns = " and ".join(used)
    plural = "s" if len(used) > 1 else ""
    return Groups(names, f"{counted(count, 'group')} of {of} by the pattern{plural} {patterns}", tuple(used))
