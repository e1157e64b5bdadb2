"""Games from files of users: what is right plays, what is wrong is told in one line with its place."""

import jax
import numpy as np
import pytest
from toys import KEY

from vaegan_jax.dynamics.user_games import check_played, is_user_game, user_game
from vaegan_jax.errors import UserError
from vaegan_jax.games import init, play

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.fixture
def file(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def step(toy):
    state, _ = jax.jit(play(toy.game, toy.schedule))(init(toy.game, toy.start), {}, KEY)
    return state.params


def test_the_function_f_is_minimized_by_x_and_maximized_by_y(file, float64):
    toy = user_game(file("def f(x, y):\n    return x * y - 0.5 * y**2\n"), step=0.1)
    params = step(toy)
    np.testing.assert_allclose([params["x"], params["y"]], [1 - 0.1 * 1, 1 + 0.1 * (1 - 1)], rtol=1e-14)
    assert toy.equilibrium is None and toy.jacobian is None and toy.name == "mine:f"


def test_another_function_start_and_equilibrium_are_taken_from_the_file(file, float64):
    text = "from jax.numpy import dot\nSTART = ([1., 2.], [3., 4.])\nEQUILIBRIUM = ([0, 0], [0, 0])\ng = dot\n"
    toy = user_game(file(text) + ":g", step=0.1)
    np.testing.assert_allclose(step(toy)["x"], [0.7, 1.6], rtol=1e-14)
    np.testing.assert_array_equal(toy.equilibrium["y"], [0, 0])


def test_what_lies_beside_the_file_can_be_imported(file):
    file("def twice(x):\n    return 2 * x\n", name="beside_the_users_game.py")
    toy = user_game(file("from beside_the_users_game import twice\n\ndef f(x, y):\n    return twice(x) * y\n"))
    assert float(step(toy)["x"]) == pytest.approx(0.8)


def test_keyword_defaults_are_no_arguments_too_many(file):
    assert user_game(file("def f(x, y, strength=2.0):\n    return strength * x * y\n")).start.keys() == {"x", "y"}


def test_names_of_files_are_told_from_names_of_games():
    assert is_user_game("mine.py") and is_user_game("folder/mine.py:g")
    assert not is_user_game("bilinear") and not is_user_game("dirac-gan")


BAD = {  # the file, the function asked for, what the line says
    "a syntax error": ("def f(x, y):\n    return x *\n", "", [", line 2: invalid syntax"]),
    "bad indentation": ("def f(x, y):\nreturn x * y\n", "", [", line 2: expected an indented block"]),
    "an import of what is not there": (
        "\nimport not_a_package_at_all\n",
        "",
        [", line 2: does not import: ModuleNotFoundError", "not_a_package_at_all"],
    ),
    "an error while it is run": ("def g():\n    return 1 / 0\n\nZ = g()\n", "", [", line 2, g: does not", "ZeroDiv"]),
    "an exit": ("import sys\nsys.exit(3)\n", "", [", line 2: does not import: SystemExit: 3"]),
    "no function of this name": ("def value(x, y):\n    return x * y\n", ":vale", ["'vale'", "Did you mean 'value'?"]),
    "no function at all": ("A = 1\n", "", ["mine.py: has no function 'f'"]),
    "no function but a number": ("f = 3\n", "", ["f is not a function, but 3"]),
    "one argument": ("\ndef f(x):\n    return x**2\n", "", [", line 2, f: must take two arguments", "(x)"]),
    "three arguments": ("def f(x, y, z):\n    return x * y\n", "", [", line 1, f: must take two arguments"]),
    "a vector": (
        "import jax.numpy as jnp\n\ndef f(x, y):\n    return jnp.stack([x, y])\n",
        "",
        [", line 3, f: must return one number, not an array of shape (2,)"],
    ),
    "a tuple": ("def f(x, y):\n    return x, y\n", "", [", line 1, f: must return one number, not a tuple"]),
    "nothing": ("def f(x, y):\n    x * y\n", "", [", line 1, f: must return one number, not a NoneType"]),
    "a whole number": ("def f(x, y):\n    return 3\n", "", ["a real number with a gradient, not int32"]),
    "a branch on a traced value": (
        "def f(x, y):\n    if x > 0:\n        return x * y\n    return -x * y\n",
        "",
        [", line 2, f: does not trace under JAX: TracerBoolConversionError"],
    ),
    "NumPy within a helper": (
        "import numpy as np\n\ndef h(x):\n    return np.sin(x)\n\ndef f(x, y):\n    return h(x) * y\n",
        "",
        [", line 4, h: does not trace under JAX: TracerArrayConversionError"],
    ),
    "a mistake within it": ("def f(x, y):\n    return x * z\n", "", [", line 2, f: ", "NameError: name 'z'"]),
    "NaN at the start": (
        "import jax.numpy as jnp\nSTART = (-1, 2)\ndef f(x, y):\n    return jnp.log(x) * y\n",
        "",
        [", line 3, f: is nan at the start, x = -1., y = 2."],
    ),
    "a gradient of NaN at the start": (
        "import jax.numpy as jnp\nSTART = (0, 0)\ndef f(x, y):\n    return jnp.sqrt(x**2 + y**2)\n",
        "",
        [", line 3, f: its gradient is not finite at the start"],
    ),
    "a start of one number": ("START = 3\ndef f(x, y):\n    return x * y\n", "", ["START must be two", "not 3"]),
    "a start of three": ("START = (1, 2, 3)\ndef f(x, y):\n    return x * y\n", "", ["START must be two"]),
    "a start of text": ("START = ('a', 2)\ndef f(x, y):\n    return x * y\n", "", ["START must be two"]),
    "an infinite start": ("START = (1e999, 2)\ndef f(x, y):\n    return x * y\n", "", ["START must be two finite"]),
    "an equilibrium of another shape": (
        "EQUILIBRIUM = ([0, 0], 0)\ndef f(x, y):\n    return x * y\n",
        "",
        ["x is () in START, but (2,) in EQUILIBRIUM"],
    ),
    "an equilibrium that is none": (
        "EQUILIBRIUM = (1, 0)\ndef f(x, y):\n    return x * y\n",
        "",
        ["EQUILIBRIUM is none: the gradient there has the norm 1, not 0"],
    ),
}


@pytest.mark.parametrize(("text", "function", "parts"), BAD.values(), ids=BAD)
def test_a_bad_file_is_told_in_one_line_with_its_name_and_place(text, function, parts, file):
    path = file(text)
    with pytest.raises(UserError) as caught:
        user_game(path + function)
    message = str(caught.value)
    assert message.startswith(path) and "\n" not in message
    for part in parts:
        assert part in message


def test_where_a_function_becomes_nan_while_it_is_played_is_told(file):
    path = file("import jax.numpy as jnp\n\ndef f(x, y):\n    return jnp.sqrt(x) * y\n")
    lost = np.array([[0.01, 3.0], [-1.49, 3.01], [np.nan, np.nan]])
    told = r"line 3, f: is NaN, .* \[-1.49  3.01\], after 1 round of simultaneous"
    with pytest.raises(UserError, match=told) as caught:
        check_played(path, "simultaneous", lost)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)
    check_played(path, "simultaneous", np.array([[1.0, 2.0], [1e300, -1e300], [np.inf, -np.inf], [np.nan, np.nan]]))
    check_played(path, "simultaneous", lost[:2])


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="missing.py: no such file or directory"):
        user_game(str(tmp_path / "missing.py"))
    folder = tmp_path / "folder.py"
    folder.mkdir()
    with pytest.raises(UserError, match="folder.py: is a directory"):
        user_game(str(folder))


def test_bytes_that_are_no_python_are_told(tmp_path):
    path = tmp_path / "mine.py"
    path.write_bytes(b"\x00\xff\x00")
    with pytest.raises(UserError, match="mine.py"):
        user_game(str(path))


def test_the_import_path_is_left_as_it_was(file):
    import sys

    before = list(sys.path)
    with pytest.raises(UserError):
        user_game(file("raise RuntimeError('no')\n"))
    assert sys.path == before
    assert jax.config.jax_enable_x64 is False
