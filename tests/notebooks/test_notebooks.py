"""The notebooks: without outputs as committed, and running from top to bottom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from tests.docs.home import ferplus_tree

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def execute(name: str, folder: Path, **parameters: Any) -> str:
    """Run a notebook in `folder`; what it printed. `parameters` replace the values of its cell of that tag."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    if parameters:
        (place,) = (i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", []))
        given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(given))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_without_outputs(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


@pytest.mark.slow
def test_recognise_and_explain(tmp_path: Path) -> None:
    said = execute("recognise_and_explain.ipynb", tmp_path)
    assert "Collins: happiness" in said
    assert "Hopper: neutral" in said
    assert "keep 0.5, Collins: happiness" in said


@pytest.mark.slow
def test_train_on_ferplus(tmp_path: Path) -> None:
    """One epoch on noise in FER+'s official layout, more than one batch: no figure means anything, every step runs."""
    tree = ferplus_tree(tmp_path / "FERPLUS", each=10)
    said = execute("train_on_ferplus.ipynb", tmp_path, FERPLUS=str(tree), EPOCHS=1)
    assert "accuracy 0." in said
    assert (tmp_path / "runs" / "notebook" / "best.safetensors").is_file()
