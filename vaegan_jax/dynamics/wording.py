"""From the words of a command to games and solvers, and back: what there is, and which fields it has."""

import ast
import dataclasses
import inspect
from typing import Any

from vaegan_jax.dynamics.games import GAMES
from vaegan_jax.dynamics.settings import CONSTANTS, Solver
from vaegan_jax.dynamics.solvers import SOLVERS
from vaegan_jax.dynamics.user_games import UserGame, is_user_game
from vaegan_jax.errors import check, unknown

PLANAR = ("ring", "grid", "spiral")
"""Games that are GANs of their own: nobody knows their equilibrium, and what they learn is measured by its modes."""
KNOWN = {
    "bilinear": "all solvers that are linear; singular value |coefficient|",
    "matrix": "all solvers that are linear, of the singular values",
    "quadratic": "eigenvalues (p + q)/2 +- sqrt((p - q)^2/4 - b^2)",
    "stochastic-bilinear": "as matrix, for --game.batch-size 0; else on average",
    "dirac-gan": "eigenvalues of every loss and regularizer but wgan-gp",
    "mean-learning": "as bilinear",
    "covariance-learning": "eigenvalues +-2i sqrt(variance)",
    "parallel-lines": "as bilinear, near the equilibrium",
}
"""What theory knows of each game."""


def config_of(name: str) -> Any:
    """The game of this name with its default fields, or that of a file. UserError for a name that is neither."""
    if is_user_game(name):
        return UserGame(name)
    if name not in GAMES:
        raise unknown("game", name, GAMES, "or FILE.py with a function f(x, y)")
    return GAMES[name]()


def solver_of(words: str, step: float) -> tuple[Solver, bool]:
    """From NAME or NAME:FIELD=VALUE,... to a solver, and whether its own step is that of the players: it is not told.

    UserError for an unknown name or field, and for a value that is none.
    """
    name, _, fields = words.partition(":")
    if name not in CONSTANTS:
        raise unknown("solver", name, CONSTANTS)
    values = {"name": name}
    for field in filter(None, fields.split(",")):
        title, sign, text = field.partition("=")
        title = title.strip().replace("-", "_")
        check(bool(sign), f"solver {name}: write FIELD=VALUE, not {field!r}")
        if title not in {known.name for known in dataclasses.fields(Solver)} - {"name"}:
            raise unknown(f"field of solver {name}", title, CONSTANTS[name])
        values[title] = _value(text)
    follows = "step" in CONSTANTS[name] and "step" not in values
    return Solver(**values | ({"step": step} if follows else {})), follows


def listing() -> str:
    """The games with their fields, defaults and closed forms, and the solvers with their constants."""
    lines = ["games, with their fields as flags:"]
    for name, kind in GAMES.items():
        told = inspect.getdoc(kind).splitlines()[0]
        known = f"  [theory: {KNOWN[name]}]" if name in KNOWN else ""
        lines.append(f"  {name:20} {told}{known}")
        flags = [
            f"--game.{f.name.replace('_', '-')} {_told(getattr(kind(), f.name))}" for f in dataclasses.fields(kind)
        ]
        lines.append(f"  {'':20} {'  '.join(flags)}")
    lines += [
        f"  {'FILE.py[:NAME]':20} min over x, max over y of your own f(x, y); rates need EQUILIBRIUM = (x, y) there",
        "",
        "solvers, as NAME:FIELD=VALUE,...:",
    ]
    for name, recipe in SOLVERS.items():
        constants = ", ".join(f"{field}={_told(getattr(Solver(), field))}" for field in CONSTANTS[name])
        lines.append(f"  {name:23} {recipe.summary}{f'  ({constants})' if constants else ''}")
    return "\n".join(lines)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _told(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return "..."
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "()"
    return repr(value) if value in ("", None) else str(value)
