"""The pages on damage beside the model cards, and the script that writes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from apvit.weights import find_weights, list_weights

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = PROJECT / "benchmarks/accuracy/robustness"
PAGES = PROJECT / "docs/models"


def test_from_faces_to_page(damage: ModuleType, weights: Path, two_people: Path, tmp_path: Path) -> None:
    readme = tmp_path / "benchmarks/accuracy/README.md"
    readme.parent.mkdir(parents=True)
    readme.write_text(f"before\n{damage.START}\nold\n{damage.END}\nafter\n")
    options = ["--weights", str(weights), "--data", str(two_people), "--faces", "3", "--output", str(tmp_path)]
    damage.main(options)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("random*")}
    pages = {"docs/models/random.robustness.md", "docs/models/random.robustness.png"}
    assert written == {"benchmarks/accuracy/robustness/random.json", *pages}
    text = (tmp_path / "docs/models/random.robustness.md").read_text()
    assert text.startswith("# Robustness of random on ferplus valid\n\nBeside the [model card](random.md).")
    assert "![Accuracy over severity](random.robustness.png)" in text
    record = json.loads((tmp_path / "benchmarks/accuracy/robustness/random.json").read_text())
    assert (record["faces"], record["curves"]["faces"], len(record["curves"]["corruptions"])) == (40, 3, 10)
    before, row, after = readme.read_text().partition("| `random` | 3 | ")
    assert before.startswith(f"before\n{damage.START}\n| weights | faces | clean | damaged | Eyes covered | Mouth")
    assert row
    assert after.endswith(f" |\n{damage.END}\nafter\n")
    assert Image.open(tmp_path / "docs/models/random.robustness.png").width > 800


@pytest.mark.parametrize("name", list_weights())
def test_what_is_published_is_of_the_bundled_weights(name: str, damage: ModuleType) -> None:
    record = json.loads((RESULTS / f"{name}.json").read_text())
    (described,) = record["with"]["weights"]
    again = f"run python benchmarks/accuracy/robustness.py --weights {name} --data prepared/ferplus"
    assert described["sha256"] == hashlib.sha256(find_weights(name).read_bytes()).hexdigest(), again
    assert (PAGES / f"{name}.robustness.md").read_text() == damage.page(name, record), again
    assert (PAGES / f"{name}.robustness.png").is_file(), again
    assert record["curves"]["faces"] >= 500


def test_the_published_table_is_the_result_files(damage: ModuleType) -> None:
    readme = (PROJECT / "benchmarks/accuracy/README.md").read_text()
    assert damage.with_table(readme, RESULTS) == readme
    assert {path.stem for path in RESULTS.glob("*.json")} == set(list_weights())
