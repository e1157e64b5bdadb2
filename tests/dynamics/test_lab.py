"""`vaegan dynamics` measures what the closed forms say, and tells what cannot be measured in one line."""

import json

import numpy as np
import pytest
from commands import done, refused
from PIL import Image

from vaegan_jax.dynamics import lab
from vaegan_jax.dynamics.games import Bilinear, Quadratic
from vaegan_jax.dynamics.settings import Solver


def bilinear(step):
    return Bilinear().make(step=step)


def test_the_default_solvers_do_what_their_closed_forms_say():
    traces = [lab.trace(bilinear, Solver(name), 0.1, 2000) for name in lab.DEFAULTS]
    rows = {row.solver: row for row in map(lab.row, traces)}
    for row in rows.values():
        assert row.measured_rate == pytest.approx(row.theory_rate, abs=1e-4), row
    assert rows["simultaneous"].verdict == "diverges" and rows["alternating"].verdict == "cycles"
    others = {row.verdict for name, row in rows.items() if name not in ("simultaneous", "alternating")}
    assert others == {"converges"}
    assert rows["simultaneous"].final_distance == pytest.approx(2**0.5 * 1.01**1000, rel=1e-9)
    assert rows["extragradient"].field_evaluations == 4000


def test_a_trace_is_what_the_steps_give():
    found = lab.trace(bilinear, Solver("simultaneous"), 0.5, 3, start=[1.0, 2.0])
    expected = [(1.0, 2.0)]
    for _ in range(3):
        x, y = expected[-1]
        expected.append((x - 0.5 * y, y + 0.5 * x))
    np.testing.assert_allclose(found.points, expected, rtol=1e-15)
    np.testing.assert_allclose(found.distances, np.hypot(*np.array(expected).T), rtol=1e-15)


def test_a_game_with_curvature_has_its_theory_too():
    found = lab.trace(lambda step: Quadratic(p=-0.1, q=1.0).make(step=step), Solver("follow-the-ridge"), 0.1, 400)
    row = lab.row(found)
    assert row.measured_rate == pytest.approx(0.91, abs=1e-6) == row.theory_rate


def test_numbers_come_as_json_and_the_picture_as_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--solver", "simultaneous", "consensus:gamma=0.5", "--rounds", 100, "--step", 0.2]
    rows = json.loads(done("dynamics", "bilinear", *words, "--json"))
    assert [row["solver"] for row in rows] == ["simultaneous", "consensus"] and not list(tmp_path.iterdir())
    assert rows[1]["theory_rate"] == pytest.approx(((1 - 0.2 * 0.5) ** 2 + 0.2**2) ** 0.5)
    assert "diverges" in done("dynamics", "bilinear", *words)
    picture = np.asarray(Image.open("bilinear-dynamics.png").convert("L"))
    assert picture.shape[1] > 1000 and picture.std() > 10


def test_a_function_of_ones_own_is_played(tmp_path):
    (tmp_path / "mine.py").write_text("START = (1.0, 1.0)\nEQUILIBRIUM = (0.0, 0.0)\ndef f(x, y):\n    return x * y\n")
    (row,) = json.loads(done("dynamics", tmp_path / "mine.py", "--solver", "extragradient", "--json"))
    assert row["measured_rate"] == pytest.approx((1 - 0.1**2 + 0.1**4) ** 0.5, abs=1e-6)


BAD = {
    "a game that does not exist": (["bilinea"], "unknown game 'bilinea'. Did you mean 'bilinear'?"),
    "a solver that does not exist": (["--solver", "extragradent"], "Did you mean 'extragradient'?"),
    "a constant that does not exist": (["--solver", "consensus:gama=1"], "Did you mean 'gamma'?"),
    "a constant of another solver": (["--solver", "consensus:tau=0.5"], "solver consensus has no tau"),
    "a field that does not exist": (["--set", "c=1"], "unknown field of game bilinear 'c'"),
    "a field without a value": (["--set", "coefficient"], "write FIELD=VALUE"),
    "a field out of range": (["--set", "coefficient=1e999"], "coefficient must be finite"),
    "a start of another size": (["--start", 1, 2, 3], "start must be 2 numbers for bilinear, not 3"),
    "a step of nothing": (["--step", 0], "step must be above 0 and finite"),
    "no rounds": (["--rounds", 0], "rounds must be at least 1"),
    "another kind of picture": (["--output", "a.jpg"], "output must end in .png"),
    "a file that is not there": (["gone.py"], "gone.py"),
    "a game without an equilibrium": (["ring"], "no equilibrium"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_played_is_told_in_one_line(case):
    words, told = BAD[case]
    assert told in refused("dynamics", *words, longest=700)
