"""The part of the command line that studies training dynamics: `vaegan dynamics`."""

import functools
import inspect
import itertools
import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from vaegan_jax import cli_spectrum
from vaegan_jax.errors import Caution, check, unknown

Words = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")]
Json = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Over = Annotated[tuple[str, float, float] | None, tyro.conf.arg(metavar="FIELD LOW HIGH")]
ENDINGS = (".png", ".gif", ".html", ".npz")
AHEAD = 0.1
"""How far a solver that looks ahead does, in units of the raw gradient, where Adam has another step."""


def dynamics() -> None:
    """Study training dynamics: play toy games under several solvers, or look at the Jacobian of a run."""


def play(
    game: Any,
    solver: Words = (),
    step: float = 0.1,
    rounds: int = 500,
    start: Annotated[tuple[float, ...], tyro.conf.arg(metavar="NUMBER...")] = (),
    output: File = None,
    as_json: Json = False,
) -> None:
    """Play a toy game under several solvers: measured rates beside closed forms, and a picture.

    vaegan dynamics [GAME|FILE.py] plays bilinear, matrix, quadratic, stochastic-bilinear, dirac-gan, mean-learning,
    covariance-learning, parallel-lines, or your own f(x, y), which x minimizes and y maximizes; ring, grid and spiral
    train a small GAN. `vaegan dynamics games` lists their fields and all solvers. Others: vaegan dynamics stability
    GAME, spectrum DIR, path DIR.

    Args:
        game: The game's own fields.
        solver: Solvers, each NAME or NAME:FIELD=VALUE,FIELD=VALUE; by default eight of them.
        step: Step size of every player.
        rounds: Rounds to play.
        start: Where to start, one number for each of the game's.
        output: FILE.png, FILE.gif for the paths in motion, FILE.html to explore, or FILE.npz for what they are drawn
            from; by default GAME-dynamics.png here.
        as_json: The numbers as JSON, and a picture only if --output asks for one.
    """
    from vaegan_jax.dynamics import lab, pictures, user_games

    cli_spectrum.check_output(output, ENDINGS)
    check(0 < step < float("inf"), f"step must be above 0 and finite, not {step}")
    setups = _setups(game, solver or lab.DEFAULTS, step)
    toy = game.make(step=step)
    traces = [
        lab.trace(lambda step: game.make(step=step), each.solver, step, rounds, list(start) or None) for each in setups
    ]
    if isinstance(game, user_games.UserGame):
        for each in traces:
            user_games.check_played(game.where, each.solver, each.points)
    rows = [lab.row(trace) for trace in traces]
    _caution(setups)
    _tell([row._asdict() for row in rows], lab.lines(rows), as_json)
    cli_spectrum.save(
        output, f"{toy.name.replace(':', '-')}-dynamics.png", pictures.sheet(toy, traces), lab.table(rows), as_json
    )


def learn(
    game: Any,
    solver: Words = (),
    step: float = 3e-3,
    rounds: int = 3000,
    seeds: int = 1,
    samples: int = 2500,
    output: File = None,
    as_json: Json = False,
) -> None:
    """Train a small GAN on points in the plane under several solvers: modes covered over time, and a picture.

    Modes are found where a sample is within three standard deviations; the share of such samples has a ceiling, which
    a perfect sampler has. Reverse KL is that of the modes of these samples to even ones, in nats.

    Args:
        game: The game's own fields.
        solver: Solvers, each NAME or NAME:FIELD=VALUE,FIELD=VALUE; by default three of them.
        step: Learning rate of Adam, which every player has, with beta1 0.5 and beta2 0.9.
        rounds: Rounds to play.
        seeds: So many trainings of each solver, from the game's --game.gan.seed on; the table has means and deviations.
        samples: Points that are drawn to be measured.
        output: FILE.png, FILE.gif of the samples in motion, FILE.html to explore, or FILE.npz for what they are drawn
            from; by default GAME-dynamics.png here.
        as_json: The numbers as JSON, and a picture only if --output asks for one.
    """
    from vaegan_jax.dynamics import lab, learning_mixtures, wording

    cli_spectrum.check_output(output, ENDINGS)
    check(0 < step < float("inf"), f"step must be above 0 and finite, not {step}")
    chosen = [wording.solver_of(words, AHEAD)[0] for words in solver or learning_mixtures.DEFAULTS]
    learned = [learning_mixtures.learn(game, each, step, rounds, seeds, samples) for each in chosen]
    rows = [learning_mixtures.row(each) for each in learned]
    told = learning_mixtures.lines(learned)
    name = type(game).__name__.lower()
    _tell([row._asdict() for row in rows], told, as_json)
    sheet = learning_mixtures.sheet(game, name, learned)
    cli_spectrum.save(output, f"{name}-dynamics.png", sheet, lab.aligned(told), as_json)


def stability(
    game: Any,
    over: Over = None,
    also: Annotated[Over, tyro.conf.arg(name="and")] = None,
    solver: Words = ("extragradient",),
    step: float = 0.1,
    points: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    as_json: Json = False,
) -> None:
    """Over which constants a solver converges: the spectral radius of its played round, beside the closed form.

    vaegan dynamics stability GAME --solver NAME --over FIELD LOW HIGH [--and FIELD LOW HIGH]. Fields are step, those
    of the solver and those of the game; where both have one of a name, say solver.NAME or game.NAME.

    Args:
        game: The game's own fields, where they are not varied.
        over: What is varied, from where to where; by default step 0.01 1.5.
        also: A second one: the radius becomes a map, with a line where it is 1.
        solver: The solver, or several of them for a curve each, as NAME or NAME:FIELD=VALUE,...
        step: Step size of every player, where it is not varied.
        points: How many values of each: by default 101, and 61 x 61 on a map.
        output: FILE.png, FILE.html to explore, or FILE.npz for what they are drawn from; by default
            GAME-stability.png here.
        as_json: The numbers as JSON, and a picture only if --output asks for one.
    """
    from vaegan_jax.dynamics import lab, stability

    cli_spectrum.check_output(output, (".png", ".html", ".npz"))
    check(0 < step < float("inf"), f"step must be above 0 and finite, not {step}")
    check(bool(solver), "which solver? --solver NAME")
    check(also is None or len(solver) == 1, "a map over two fields is of one solver")
    ways = [over or ("step", 0.01, 1.5), *([also] if also else [])]
    count = points if points is not None else 101 if also is None else 61
    name = game.make(step=step).name
    curves = [stability.curve(setup, ways, count) for setup in _setups(game, solver, step)]
    told = stability.told(curves)
    _tell([stability.plain(each) for each in curves], told, as_json)
    sheet = stability.sheet(curves, name)
    cli_spectrum.save(output, f"{name.replace(':', '-')}-stability.png", sheet, lab.aligned(told), as_json)


def games() -> None:
    """List the games with their fields and closed forms, and the solvers with their constants."""
    from vaegan_jax.dynamics import wording

    print(wording.listing())


PARTS = {"games": games, "path": cli_spectrum.path, "spectrum": cli_spectrum.spectrum}
"""What `vaegan dynamics` does besides playing games; so no game may be called that, nor stability."""


def chosen(words: Sequence[str]) -> tuple[Callable[..., None], int]:
    """The command that follows `vaegan dynamics`, and how many words name it. UserError for an unknown game."""
    from vaegan_jax.dynamics import wording
    from vaegan_jax.dynamics.games import GAMES
    from vaegan_jax.dynamics.user_games import is_user_game

    names = list(itertools.takewhile(lambda word: not word.startswith("-"), words[:2]))
    if names and names[0] in PARTS:
        return PARTS[names[0]], 1
    stable = names[:1] == ["stability"]
    name = next(iter(names[1:] if stable else names[:1]), None)
    if name is not None and name not in GAMES and not is_user_game(name):
        raise unknown("game", name, [*GAMES, *([] if stable else [*PARTS, "stability"])], "or FILE.py with f(x, y)")
    command = stability if stable else learn if name in wording.PLANAR else play
    return _of_game(command, wording.config_of(name or "bilinear")), stable + (name is not None)


def _of_game(command: Callable[..., None], config: Any) -> Callable[..., None]:
    """The command with a flag for each field of this game, and without any for a file's."""
    from vaegan_jax.dynamics.user_games import UserGame

    @functools.wraps(command)
    def of_game(*args: Any, **named: Any) -> None:
        return command(*args, **named)

    kind = type(config) if not isinstance(config, UserGame) else tyro.conf.SuppressFixed[tyro.conf.Fixed[UserGame]]
    signature = inspect.signature(command)
    first = signature.parameters["game"].replace(annotation=kind, default=config)
    of_game.__signature__ = signature.replace(parameters=[first, *list(signature.parameters.values())[1:]])
    of_game.__annotations__ = command.__annotations__ | {"game": kind}
    return of_game


def _setups(game: Any, solvers: Sequence[str], step: float) -> list:
    from vaegan_jax.dynamics import wording
    from vaegan_jax.dynamics.rounds import Setup

    made = [wording.solver_of(words, step) for words in solvers]
    return [Setup(game, solver, step, follows) for solver, follows in made]


def _caution(setups: Sequence) -> None:
    """Warns, in one line, of solvers whose step is outside of where theory has them converge."""
    from vaegan_jax.dynamics import rounds, stability

    told = []
    for setup in setups:
        rate = rounds.theory(setup)
        if rate is not None and rate > 1 + 1e-9:
            stable = stability.stable_steps(setup)
            told.append(f"{setup.solver.name} {stability.ranges(stable) if stable else 'at no step'}")
    if told:
        step = f"step {setups[0].step:g} is outside of where theory has these converge"
        warnings.warn(f"{step}: {'; '.join(told)}", Caution, stacklevel=3)


def _tell(rows: list[dict], lines: Sequence[Sequence[str]], as_json: bool) -> None:
    from vaegan_jax.dynamics import lab

    print(json.dumps(_plain(rows), indent=2, allow_nan=False) if as_json else lab.aligned(lines))


def _plain(value: Any) -> Any:
    """Numbers that are not finite as null, which JSON has."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
