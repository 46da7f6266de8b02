"""The fenced blocks of README.md and docs/, and which of them a test runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("python", "sh")
SHOWN = ("", "json", "sql", "bibtex", "yaml", "toml")
"""Languages of blocks that are to be read: layouts, answers, queries of other programs."""

FENCE = re.compile(r"(?P<indent>\s*)```(?P<language>[^\s`]*)\s*")
REASON = re.compile(r"# not run by the tests: (?P<reason>\S.*)")


@dataclass(frozen=True)
class Block:
    """page: relative to the repository; line: of its first line of text, from 1; text: without its indentation."""

    page: str
    line: int
    language: str
    text: str

    @property
    def reason(self) -> str | None:
        """Why it is not run, as its first line says; None for a block that is."""
        match = REASON.fullmatch(self.text.partition("\n")[0])
        return None if match is None else match["reason"]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in order; ValueError for one that never ends."""
    lines = page.read_text(encoding="utf-8").splitlines()
    name, blocks, start = page.relative_to(ROOT).as_posix(), [], None
    for number, line in enumerate(lines, start=1):
        if start is None:
            if match := FENCE.fullmatch(line):
                start, indent, language = number, len(match["indent"]), match["language"]
        elif line.strip() == "```":
            text = "\n".join(inner[indent:] for inner in lines[start : number - 1])
            blocks.append(Block(name, start + 1, language, text))
            start = None
    if start is not None:
        raise ValueError(f"{name}:{start}: this block never ends")
    return blocks


PAGES = {
    page.relative_to(ROOT).as_posix(): read_blocks(page)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
RUNNABLE = [block for blocks in PAGES.values() for block in blocks if block.language in RUN]
