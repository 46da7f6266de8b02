"""The section "Shipping new weights" of benchmarks/accuracy/README.md: its commands are there, with their options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.blocks import Block, read_blocks
from tests.docs.test_code_blocks import test_block_is_valid as check_syntax
from tests.docs.test_code_blocks import test_commands_and_options_exist as check_apvit

PROJECT = Path(__file__).resolve().parents[2]
BLOCKS = [block for block in read_blocks(PROJECT / "benchmarks/accuracy/README.md") if block.language == "sh"]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_apvit_commands(block: Block) -> None:
    check_syntax(block)
    check_apvit(block)


def test_scripts_and_their_options() -> None:
    text = "\n".join(block.text for block in BLOCKS)
    calls = re.findall(r"python (\S+\.py)([^#\n&]*)", text)
    assert len(calls) >= 9
    for script, options in calls:
        folder = (PROJECT / script).parent
        assert (PROJECT / script).is_file(), script
        sources = "".join(path.read_text() for path in folder.glob("*.py"))
        assert all(f'"{option}"' in sources for option in re.findall(r"--\S+", options)), (script, options)
    for path in re.findall(r"tests/\S+", text):
        assert (PROJECT / path).exists(), path
