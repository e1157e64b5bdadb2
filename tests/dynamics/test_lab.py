"""`vaegan dynamics` measures what the closed forms say, and tells what cannot be measured in one line."""

import json

import numpy as np
import pytest
from commands import done, refused, vaegan
from PIL import Image

from vaegan_jax import cli_dynamics
from vaegan_jax.dynamics import lab
from vaegan_jax.dynamics.games import GAMES, Bilinear, Quadratic
from vaegan_jax.dynamics.settings import CONSTANTS, Solver


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


def test_fields_of_the_game_have_flags_and_each_game_its_help(tmp_path):
    (row,) = json.loads(
        done(
            "dynamics",
            "dirac-gan",
            "--game.regularizer",
            "r1",
            "--game.gamma",
            1.0,
            "--solver",
            "simultaneous",
            "--json",
        )
    )
    assert row["theory_rate"] == pytest.approx(0.95, abs=1e-8)  # gamma = 2 f'(0): a double root, 1 - h/2
    told = " ".join(done("dynamics", "dirac-gan", "--help").split())
    assert "--game.loss {minimax,non-saturating," in told and "(default: 0.3)" in told and "--start NUMBER..." in told
    assert set(GAMES).isdisjoint({*cli_dynamics.PARTS, "stability"})


def test_the_listing_has_every_game_and_solver_with_their_fields():
    told = done("dynamics", "games")
    for name in (*GAMES, *CONSTANTS, "--game.regularizer none", "--game.coefficient 1.0", "(gamma=1.0)"):
        assert name in told


def test_a_step_beyond_the_stable_range_is_played_and_said(tmp_path):
    words = ["dynamics", "--solver", "optimistic", "extragradient", "--step", 0.7, "--rounds", 40, "--json"]
    code, out, err = vaegan(*words)
    assert code == 0 and [row["verdict"] for row in json.loads(out)] == ["diverges", "converges"]
    (line,) = err.splitlines()
    assert line.startswith(
        "vaegan: warning: step 0.7 is outside of where theory has these converge: optimistic 0 to 0.5"
    )


@pytest.mark.slow
def test_a_small_gan_learns_a_ring_and_its_table_has_modes(tmp_path, this_compiled_quickly):
    small = ["--game.gan.hidden-sizes", 4, "--game.gan.batch-size", 8, "--rounds", 5, "--samples", 50, "--seeds", 2]
    file = tmp_path / "ring.npz"
    (row,) = json.loads(done("dynamics", "ring", *small, "--solver", "extra-adam", "--output", file, "--json"))
    saved = np.load(file)
    assert row["of"] == 8 and row["ceiling"] == pytest.approx(1 - np.exp(-4.5)) and row["seeds"] == 2
    assert row["field_evaluations"] == 10 and list(saved["times"]) == [0, 1, 2, 3, 4, 5]
    assert saved["1.0.extra-adam.y"][-1] == row["modes"] and saved["1.1.extra-adam.y"][-1] == row["high_quality"]
    assert saved["0.4.1.x"].shape == (6, 50)
    lost = saved["2.0.share of the modes had that are lost.values"]
    assert lost.shape == (6, 6) and all(value == 0 or np.isnan(value) for value in np.diag(lost))


BAD = {
    "a game that does not exist": (["bilinea"], "unknown game 'bilinea'. Did you mean 'bilinear'?"),
    "a solver that does not exist": (["--solver", "extragradent"], "Did you mean 'extragradient'?"),
    "a constant that does not exist": (["--solver", "consensus:gama=1"], "Did you mean 'gamma'?"),
    "a constant of another solver": (["--solver", "consensus:tau=0.5"], "solver consensus has no tau"),
    "a constant without a value": (["--solver", "consensus:gamma"], "write FIELD=VALUE"),
    "a field that does not exist": (["dirac-gan", "--game.gama", 1], "Did you mean --game.gamma?"),
    "a field of another kind": (["dirac-gan", "--game.gamma", "much"], "'much' is not a number"),
    "a choice that there is not": (["dirac-gan", "--game.loss", "minmax"], "Did you mean 'minimax'?"),
    "a field out of range": (["--game.coefficient", "inf"], "coefficient must be finite"),
    "a field of a file": (["mine.py", "--game.c", 1], "unknown option --game.c"),
    "a start of another size": (["--start", 1, 2, 3], "start must be 2 numbers for bilinear, not 3"),
    "a step of nothing": (["--step", 0], "step must be above 0 and finite"),
    "no rounds": (["--rounds", 0], "rounds must be at least 1"),
    "another kind of picture": (["--output", "a.jpg"], "output must end in .png, .gif, .html, .npz"),
    "a picture in a file": (["--rounds", 1, "--solver", "proximal", "--output", "/proc/a.npz"], "cannot write"),
    "a file that is not there": (["gone.py"], "gone.py"),
    "a part that does not exist": (["spektrum"], "Did you mean 'spectrum'?"),
    "a word too many": (["bilinear", "quadratic"], "'quadratic' is one word too many"),
    "no trainings": (["ring", "--seeds", 0], "seeds must be at least 1"),
    "no training": (["spiral", "--rounds", 0], "rounds must be at least 1"),
    "a ring of nothing": (["ring", "--game.modes", 0], "modes must be at least 1"),
    "no game for a map": (["stability", "spectrum"], "unknown game 'spectrum'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_played_is_told_in_one_line(case):
    words, told = BAD[case]
    assert told in refused("dynamics", *words, longest=700)
