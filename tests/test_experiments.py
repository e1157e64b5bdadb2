"""Every experiment tells its command and answers --help, and its results tell what they depend on."""

import ast
import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "experiments"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if "__main__" in path.read_text())
RESULTS = sorted(FOLDER.glob("results/*.json"))
PICTURES = sorted(FOLDER.glob("figures/*"))


@pytest.fixture(autouse=True)
def neighbors(monkeypatch):
    """Scripts import each other, as they do when they are run; what they import is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in {path.stem for path in FOLDER.glob("*.py")} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_docstring_holds_the_command(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert f"\n    python experiments/{path.name}" in docstring
    assert "XX" not in docstring


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_is_answered(path, monkeypatch, capsys):
    made = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(made)
    made.loader.exec_module(script)
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_tell_seeds_versions_and_machine(path):
    results = json.loads(path.read_text())
    assert {"python", "vaegan_jax", "jax", "numpy"} <= results["versions"].keys()
    assert results["machine"]["cores"] > 0
    assert '"seed' in path.read_text()


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_pictures_are_small(path):
    assert path.stat().st_size < (1_000_000 if path.suffix == ".gif" else 300_000)
