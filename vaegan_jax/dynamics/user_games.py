"""A user's own game: a Python function f(x, y) that x minimizes and y maximizes, from a file.

    def f(x, y):
        return x * y - 0.1 * y**2

    START = (1.0, 1.0)          # optional
    EQUILIBRIUM = (0.0, 0.0)    # optional

The file is run, like any Python program: use only what you trust.
"""

import contextlib
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vaegan_jax.dynamics.toy import JOINT, Optimizers, Toy, point, zero_sum
from vaegan_jax.errors import UserError, check, unknown
from vaegan_jax.games import Params

FUNCTION = "f"
"""What the function is called where only a file is named."""


@dataclass(frozen=True)
class UserGame:
    """min_x max_y f(x, y) of a function in a file."""

    where: str
    """FILE.py or FILE.py:function."""

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game of `user_game`, which tells what is raised."""
        return user_game(self.where, optimizers, step)


def is_user_game(where: str) -> bool:
    """Whether a game's name means a file: FILE.py or FILE.py:function."""
    return where.endswith(".py") or ".py:" in where


def user_game(where: str, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
    """The game of FILE.py (its function f) or FILE.py:function: min_x max_y f(x, y), traced by JAX.

    x and y are scalars, or arrays where START says so. Raises UserError, with the file and, where there is one, the
    line, for a file or function that cannot be played: not found, not imported, not of two arguments, not scalar, not
    traced by JAX, or NaN at the start.
    """
    path, function = _place(where)
    module = _run(path)
    f = _function(path, module, function)
    start = _point(path, module, "START", (1.0, 1.0))
    equilibrium = _point(path, module, "EQUILIBRIUM", None)
    _check_traces(path, f, start)
    _check_start(path, f, start)
    if equilibrium is not None:
        _check_equilibrium(path, f, start, equilibrium)
    game = zero_sum(lambda x, y, batch: f(x, y), optimizers, step)
    return Toy(f"{path.stem}:{function}", game, JOINT, start, equilibrium, jacobian=None)


def check_played(where: str, solver: str, points: Float[np.ndarray, "t d"]) -> None:
    """UserError, with the file, the line and the point, where f took a solver to NaN without an overflow before."""
    lost = ~np.isfinite(points).all(1)
    first = int(np.argmax(lost))
    if not lost[first] or not np.isnan(points[first]).any():
        return
    path, function = _place(where)
    done = f"{first - 1} round{'s' if first != 2 else ''} of {solver}"
    told = f"is NaN, or its gradient is, at or near x, y = {_told(points[first - 1])}, after {done}"
    raise UserError(f"{_definition(path, getattr(_run(path), function))}: {told}")


def _place(where: str) -> tuple[Path, str]:
    """The file and the function of FILE.py or FILE.py:function."""
    name, _, function = where.partition(".py:") if ".py:" in where else (where.removesuffix(".py"), "", FUNCTION)
    return Path(f"{name}.py"), function


def _run(path: Path) -> types.ModuleType:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        code = compile(source, str(path), "exec")
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    try:
        with _importing_from(path.parent):
            exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        raise UserError(f"{_line(path, error)}: does not import: {_said(error)}") from error
    return module


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """As for a program: what lies beside it can be imported."""
    before = list(sys.path)
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path[:] = before


def _function(path: Path, module: types.ModuleType, name: str) -> Callable:
    functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    mine = [key for key in functions if getattr(vars(module)[key], "__module__", None) == module.__name__]
    f = getattr(module, name, None)
    if f is None:
        raise UserError(f"{path}: {unknown('function', name, mine)}" if mine else f"{path}: has no function {name!r}")
    check(callable(f), f"{path}: {name} is not a function, but {f!r}")
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return f  # not every function written in C tells its arguments: the trace will
    try:
        signature.bind(0, 0)
    except TypeError:
        raise UserError(f"{_definition(path, f)}: must take two arguments, x and y, not {signature}") from None
    return f


def _point(path: Path, module: types.ModuleType, name: str, otherwise: tuple[float, float] | None) -> Params | None:
    value = getattr(module, name, otherwise)
    if value is None:
        return None
    message = f"{path}: {name} must be two finite numbers or arrays, (x, y), not {value!r}"
    try:
        x, y = (np.asarray(part, float) for part in value)
    except (TypeError, ValueError):
        raise UserError(message) from None
    check(bool(np.isfinite(x).all() and np.isfinite(y).all()) and x.size > 0 and y.size > 0, message)
    return point(x, y)


def _check_traces(path: Path, f: Callable, start: Params) -> None:
    shapes = (jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in (start["x"], start["y"]))
    try:
        value = jax.eval_shape(f, *shapes)
    except Exception as error:
        raise UserError(f"{_line(path, error, f)}: does not trace under JAX: {_said(error)}") from error
    fine = isinstance(value, jax.ShapeDtypeStruct) and value.shape == ()
    told = f"an array of shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"
    check(fine, f"{_definition(path, f)}: must return one number, not {told}")
    real = jnp.issubdtype(value.dtype, jnp.floating)
    check(real, f"{_definition(path, f)}: must return a real number with a gradient, not {value.dtype}")


def _check_start(path: Path, f: Callable, start: Params) -> None:
    try:
        value, slopes = jax.value_and_grad(lambda point: f(point["x"], point["y"]))(start)
    except Exception as error:
        raise UserError(f"{_line(path, error, f)}: has no gradient under JAX: {_said(error)}") from error
    where = f"at the start, x = {_told(start['x'])}, y = {_told(start['y'])}"
    check(bool(jnp.isfinite(value)), f"{_definition(path, f)}: is {float(value)} {where}")
    finite = all(bool(jnp.isfinite(slope).all()) for slope in slopes.values())
    check(finite, f"{_definition(path, f)}: its gradient is not finite {where}")


def _check_equilibrium(path: Path, f: Callable, start: Params, equilibrium: Params) -> None:
    for name, leaf in equilibrium.items():
        fits = leaf.shape == start[name].shape
        check(fits, f"{path}: {name} is {start[name].shape} in START, but {leaf.shape} in EQUILIBRIUM")
    at, first = (
        np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.grad(lambda p: f(p["x"], p["y"]))(place).values()))
        for place in (equilibrium, start)
    )
    # Digits as a person writes them: 0.333 for a third is meant to be one.
    fine = at <= 1e-2 * max(1.0, first)
    check(bool(fine), f"{path}: EQUILIBRIUM is none: the gradient there has the norm {at:.3g}, not 0")


def _definition(path: Path, f: Callable) -> str:
    code = getattr(inspect.unwrap(f), "__code__", None)
    name = getattr(f, "__name__", FUNCTION)
    if code is None or Path(code.co_filename) != path:
        return f"{path}, {name}"
    return f"{path}, line {code.co_firstlineno}, {name}"


def _line(path: Path, error: BaseException, f: Callable | None = None) -> str:
    """Where in the user's file it happened: the innermost of its lines that the error went through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if frames:
        inside = "" if frames[-1].name == "<module>" else f", {frames[-1].name}"
        return f"{path}, line {frames[-1].lineno}{inside}"
    return _definition(path, f) if f else str(path)


def _said(error: BaseException) -> str:
    """The error's first line, short."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    kind = type(error).__name__
    return f"{kind}: {first[:200]}" if first else kind


def _told(value: Any) -> str:
    return np.array2string(np.asarray(value), precision=6, threshold=6).replace("\n", " ")
