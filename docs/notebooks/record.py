"""Run the notebooks and keep their outputs: `python docs/notebooks/record.py [NAME...]`. A test compares what a fresh run prints."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def executed(path: Path, folder: str | Path) -> Any:
    """Return a notebook with the outputs of a run in `folder`; what a cell writes to stderr, which is progress, is left out.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            # When a cell ran is of no use to a reader, and would differ each time.
            cell.metadata.pop("execution", None)
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    return notebook


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(HERE.parents[1])
    for notebook_file in sorted(HERE.glob("*.ipynb")):
        if not sys.argv[1:] or notebook_file.stem in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as scratch:
                nbformat.write(executed(notebook_file, scratch), notebook_file)
            print(notebook_file)
