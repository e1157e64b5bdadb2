"""The part of the command line that studies training dynamics: `vaegan dynamics`."""

import ast
import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from vaegan_jax.errors import UserError, check, unknown

Words = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")]
Fields = Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE...")]


def dynamics(
    game: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="GAME|FILE.py")] = "bilinear",
    solver: Words = (),
    set: Fields = (),
    step: float = 0.1,
    rounds: int = 500,
    start: Annotated[tuple[float, ...], tyro.conf.arg(metavar="NUMBER...")] = (),
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Play a toy game under several solvers: measured rates beside closed forms, and a picture.

    Games: bilinear, matrix, quadratic, stochastic-bilinear, dirac-gan, mean-learning, covariance-learning,
    parallel-lines, or a function f(x, y) of yours, FILE.py or FILE.py:NAME, where x minimizes and y maximizes.

    Args:
        game: Name of a game, or a file.
        solver: Solvers, each NAME or NAME:FIELD=VALUE,FIELD=VALUE; by default eight of them.
        set: Fields of the game, such as gamma=0.5.
        step: Step size of every player.
        rounds: Rounds to play.
        start: Where to start, one number for each of the game's.
        output: Where the picture goes; by default GAME-dynamics.png here.
        as_json: The numbers as JSON, and a picture only if --output asks for one.
    """
    from vaegan_jax.dynamics import lab, pictures
    from vaegan_jax.training.run import write

    check(output is None or output.suffix == ".png", f"output must end in .png, not {output}")
    check(0 < step < float("inf"), f"step must be above 0 and finite, not {step}")
    make = _game(game, set)
    toy = make(step)
    traces = [
        lab.trace(make, each, step, rounds, list(start) or None) for each in map(_solver(step), solver or lab.DEFAULTS)
    ]
    rows = [lab.row(trace) for trace in traces]
    print(json.dumps([row._asdict() for row in rows], indent=2) if as_json else lab.table(rows))
    if as_json and output is None:
        return
    output = output or Path(f"{toy.name}-dynamics.png")
    try:
        write(output, pictures.figure(toy, traces))
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error
    if not as_json:
        print(f"picture: {output}")


def _game(name: str, fields: tuple[str, ...]):
    """The game for a step size, as `lab.trace` takes it."""
    from vaegan_jax.dynamics.games import GAMES
    from vaegan_jax.dynamics.user_games import is_user_game, user_game

    if is_user_game(name):
        check(not fields, "a game of your own has no fields to --set")
        return lambda step: user_game(name, step=step)
    planar = ("ring", "grid", "spiral")
    check(name not in planar, f"{name} is a GAN of its own: it has no equilibrium to measure a distance to")
    if name not in GAMES:
        raise unknown("game", name, sorted(GAMES.keys() - {*planar}), "or FILE.py with a function f(x, y)")
    config = _with(GAMES[name], fields, f"game {name}")
    return lambda step: config.make(step=step)


def _solver(step: float):
    """From NAME:FIELD=VALUE,... to a solver, whose own step is that of the players unless it is told."""
    from vaegan_jax.dynamics.settings import CONSTANTS, Solver

    def made(words: str) -> Solver:
        name, _, fields = words.partition(":")
        if name not in CONSTANTS:
            raise unknown("solver", name, CONSTANTS)
        chosen = tuple(field for field in fields.split(",") if field)
        own = "step" in CONSTANTS[name] and not any(field.startswith("step=") for field in chosen)
        return _with(Solver, (f"name={name!r}", *([f"step={step!r}"] if own else []), *chosen), f"solver {name}")

    return made


def _with(kind: type, fields: tuple[str, ...], what: str) -> Any:
    """A dataclass with fields as FIELD=VALUE. UserError for unknown fields and values that are none."""
    known = {field.name for field in dataclasses.fields(kind)}
    values = {}
    for field in fields:
        name, sign, text = field.partition("=")
        name = name.strip().replace("-", "_")
        check(bool(sign), f"{what}: write FIELD=VALUE, not {field!r}")
        if name not in known:
            raise unknown(f"field of {what}", name, known - {"name"})
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return kind(**values)
