"""Solvers of games by name, each for any game of the library.

A solver is one of five things, and never a flag of the engine: a `Direction` (`directions`), an optax transformation
around the players' own (`transforms`), a function from a game to a game (`foresight`), another schedule, or rounds
with a memory in `State.solver` (`wrappers`).
"""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

from vaegan_jax.dynamics import directions, transforms, wrappers
from vaegan_jax.dynamics.foresight import looking_ahead
from vaegan_jax.dynamics.settings import CONSTANTS, Solver
from vaegan_jax.errors import check, unknown
from vaegan_jax.games import Direction, Game, Metrics, Schedule, State, consensus, gradient, play, symplectic
from vaegan_jax.optimizers import Kept


class Solved(NamedTuple):
    """A game that is ready to be played by a solver."""

    start: Callable[[State], State]
    """Makes the state of `games.init` one of this solver: fills `State.solver`, begins the optimizers that are new."""
    round: Callable[..., tuple[State, Metrics]]
    """(state, batch, key, told=True) -> (state, metrics), as `games.play` gives it, for the schedule below."""
    game: Game
    """What is really played."""
    schedule: Schedule
    """As it is really played: solvers that need all players at once make one move of it."""
    evaluations: float
    """Evaluations of the field of all players in a round, at most; a product with its Jacobian counts as two."""


def solve(solver: Solver, game: Game, schedule: Schedule) -> Solved:
    """The game and schedule as this solver plays them. UserError, with the reason, for what it cannot play."""
    recipe, movers = SOLVERS[solver.name], moving(schedule)
    wanted, fits = recipe.players
    told = f"{len(movers)} move: {', '.join(movers)}" if len(movers) > 1 else f"{movers[0]} alone moves"
    check(fits(len(movers)), f"solver {solver.name} needs {wanted} players, and here {told}")
    if solver.player and solver.player not in movers:
        raise unknown("player", solver.player, movers)
    fixed = bool(solver.player) and isinstance(game[solver.player].tx, Kept)
    check(not fixed, f"solver {solver.name}: {solver.player} steps by a rule of its own, which no solver changes")
    return recipe.make(solver, game, (movers,) if recipe.joint else schedule)


def told(solver: Solver, schedule: Schedule, solved: Solved) -> str:
    """What a solver makes of a schedule, and at which cost, in a line."""
    values = {name.replace("_", "-"): getattr(solver, name) for name in CONSTANTS[solver.name]}
    constants = ", ".join(f"{name} {value}" for name, value in values.items() if value not in (None, ""))
    instead = f", in place of {_in_words(schedule)}" if solved.schedule != schedule else ""
    return (
        f"solver {solver.name}{f' ({constants})' * bool(constants)}: {SOLVERS[solver.name].summary}; a round is "
        f"{_in_words(solved.schedule)}{instead}, and costs {solved.evaluations:g} of the field's evaluations"
    )


def _in_words(schedule: Schedule) -> str:
    """Such as "5 x critic, then generator"; in a list that is read aloud."""
    moves = [
        (" and ".join(movers) + " at once" * (len(movers) > 1), len(list(run))) for movers, run in groupby(schedule)
    ]
    return ", then ".join(f"{count} x {movers}" if count > 1 else movers for movers, count in moves)


def moving(schedule: Schedule) -> tuple[str, ...]:
    """Who moves at all, in the order of first moves."""
    return tuple(dict.fromkeys(name for movers in schedule for name in movers))


def _evaluations(schedule: Schedule) -> float:
    """Of the field of all players, in a round of gradients."""
    return sum(map(len, schedule)) / len(moving(schedule))


def _leader(solver: Solver, schedule: Schedule) -> str:
    """The player of this name, or the one who minimizes in games whose players have the usual names."""
    movers = moving(schedule)
    usual = [name for name in ("min", "generator") if name in movers]
    told = f"solver {solver.name} needs to know by `player` which of {', '.join(movers)} is meant"
    check(bool(solver.player or usual), told)
    return solver.player or usual[0]


def _begun(state: State) -> State:
    return state


def _by(direction: Direction, game: Game, schedule: Schedule, cost: int, ahead: float | None = None) -> Solved:
    """What a direction gives; `cost` is of one evaluation of all players' field."""
    round = play(game, schedule, direction, ahead)
    return Solved(_begun, round, game, schedule, cost * _evaluations(schedule))


def _around(around: transforms.Around, game: Game, schedule: Schedule, player: str = "") -> Solved:
    """With a transformation around that of a player, or of all who move."""
    players = (player,) if player else moving(schedule)
    game = transforms.surround(game, players, around)
    round = play(game, schedule)
    start = transforms.beginning(game, players)
    return Solved(start, round, game, schedule, _evaluations(schedule))


def _with_memory(how: wrappers.Remembering, game: Game, schedule: Schedule, cost: int = 1) -> Solved:
    start, round = wrappers.remembering(game, schedule, how)
    return Solved(start, round, game, schedule, cost * _evaluations(schedule))


def _foreseeing(game: Game, schedule: Schedule, lookers: tuple[str, ...], step: float, inner_steps: int = 1) -> Solved:
    movers = moving(schedule)
    game = looking_ahead(game, lookers, movers, step, inner_steps)
    # An inner step is a gradient of the others, and two more to differentiate through it.
    costs = [1 + 3 * inner_steps * (len(movers) - 1) * (name in lookers) for moves in schedule for name in moves]
    return Solved(_begun, play(game, schedule), game, schedule, sum(costs) / len(movers))


def _extra_adam(solver: Solver, game: Game, schedule: Schedule) -> Solved:
    game = transforms.surround(game, moving(schedule), transforms.adam(solver.b1, solver.b2))
    start = transforms.beginning(game, moving(schedule))
    return Solved(start, wrappers.extrapolated(game, schedule), game, schedule, 2 * _evaluations(schedule))


def _proximal(solver: Solver, game: Game, schedule: Schedule) -> Solved:
    count = solver.iterations
    if solver.method == "fixed-point":
        return _by(directions.implicit(solver.step, count), game, schedule, 1 + count)
    direction = directions.proximal(solver.step, count, solver.tolerance)
    return _by(direction, game, schedule, 1 + 2 * count)


def _competitive(solver: Solver, game: Game, schedule: Schedule) -> Solved:
    direction = directions.competitive(solver.step, solver.iterations, solver.tolerance)
    # Each product is two with a block of one player, which are half of a product with the Jacobian.
    return _by(direction, game, schedule, 3 + 2 * solver.iterations)


def _sos(solver: Solver, game: Game, schedule: Schedule) -> Solved:
    lola = _foreseeing(game, schedule, moving(schedule), solver.step)
    direction = directions.stable_opponent_shaping(solver.bound, solver.radius, solver.share)
    cost = lola.evaluations if solver.share is not None else 1 + 2 * lola.evaluations
    return lola._replace(round=play(lola.game, schedule, direction), evaluations=cost)


def _follow_the_ridge(solver: Solver, game: Game, schedule: Schedule) -> Solved:
    leader = _leader(solver, schedule)
    direction = directions.follow_the_ridge(leader, solver.damping, solver.iterations, solver.tolerance)
    return _by(direction, game, schedule, 3 + solver.iterations)


ANY, SEVERAL, TWO = ("some", lambda n: n >= 1), ("at least two", lambda n: n >= 2), ("two", lambda n: n == 2)


class Recipe(NamedTuple):
    """How a solver is made, for whom, and what it is in a line."""

    summary: str
    make: Callable[[Solver, Game, Schedule], Solved]
    joint: bool = False
    """Needs all players at once: in place of any other schedule, one move of all who move."""
    players: tuple[str, Callable[[int], bool]] = ANY
    """How many must move, in words and as a test."""


SOLVERS: dict[str, Recipe] = {
    "gradient": Recipe("the game and its schedule as they are", lambda s, g, order: _by(gradient, g, order, 1)),
    "simultaneous": Recipe(
        "all players step at once, from one point", lambda s, g, order: _by(gradient, g, order, 1), True
    ),
    "alternating": Recipe(
        "one player after the other, each seeing the last step",
        lambda s, g, order: _by(gradient, g, tuple((name,) for moves in order for name in moves), 1),
    ),
    "two-time-scales": Recipe(
        "one player's updates times a factor",
        lambda s, g, order: _around(transforms.scale(s.factor), g, order, _leader(s, order)),
        players=SEVERAL,
    ),
    "heavy-ball": Recipe("momentum", lambda s, g, order: _around(transforms.momentum(s.momentum), g, order, s.player)),
    "nesterov": Recipe(
        "momentum, with the gradient taken ahead",
        lambda s, g, order: _around(transforms.momentum(s.momentum, nesterov=True), g, order, s.player),
    ),
    "negative-momentum": Recipe(
        "momentum against past steps; it converges where players alternate",
        lambda s, g, order: _around(transforms.momentum(-s.momentum), g, order, s.player),
    ),
    "extragradient": Recipe(
        "the gradients at where a step would lead",
        lambda s, g, order: _by(gradient, g, order, 2, ahead=s.step),
        True,
    ),
    "optimistic": Recipe(
        "twice the gradient less the last one: past extragradient",
        lambda s, g, order: _around(transforms.optimism(s.alpha, s.beta), g, order),
    ),
    "optimistic-adam": Recipe(
        "optimism with Adam's steps",
        lambda s, g, order: _around(transforms.optimistic_adam(s.alpha, s.beta, s.b1, s.b2), g, order),
    ),
    "extra-adam": Recipe("extragradient with Adam's steps", _extra_adam, True),
    "consensus": Recipe(
        "also descends the norm of all gradients", lambda s, g, order: _by(consensus(s.gamma), g, order, 3), True
    ),
    "symplectic": Recipe(
        "takes the rotation of the field back", lambda s, g, order: _by(symplectic(s.lam, s.align), g, order, 5), True
    ),
    "hamiltonian": Recipe(
        "descends the norm of all gradients alone", lambda s, g, order: _by(directions.hamiltonian, g, order, 3), True
    ),
    "proximal": Recipe("the implicit step", _proximal, True),
    "competitive": Recipe("the equilibrium of a bilinear local game", _competitive, True, TWO),
    "linearized-competitive": Recipe(
        "its first two terms",
        lambda s, g, order: _by(directions.linearized_competitive(s.step), g, order, 3),
        True,
        SEVERAL,
    ),
    "lookahead-opponent": Recipe(
        "the gradients at where the others would step",
        lambda s, g, order: _by(directions.lookahead_opponent(s.step), g, order, 2),
        True,
        SEVERAL,
    ),
    "lola": Recipe(
        "through how the others' steps change with one's own",
        lambda s, g, order: _foreseeing(g, order, moving(order), s.step),
        True,
        SEVERAL,
    ),
    "sos": Recipe("between lookahead-opponent and lola, as is safe", _sos, True, SEVERAL),
    "unrolled": Recipe(
        "one player looks through several steps of the others",
        lambda s, g, order: _foreseeing(g, order, (_leader(s, order),), s.step, s.inner_steps),
        players=SEVERAL,
    ),
    "follow-the-ridge": Recipe("the follower goes along as the leader moves", _follow_the_ridge, True, TWO),
    "lookahead-minmax": Recipe(
        "every k rounds, back towards where they began",
        lambda s, g, order: _with_memory(wrappers.lookahead_minmax(s.k, s.slow_step), g, order),
    ),
    "anchored": Recipe(
        "extragradient drawn back to the start, ever less",
        lambda s, g, order: _with_memory(wrappers.anchored(s.step), g, order, 2),
        True,
    ),
    "averaging": Recipe(
        "gradients, and the mean of all points beside",
        lambda s, g, order: _with_memory(wrappers.averaging(s.decay if s.average == "ema" else None), g, order),
    ),
    "historical-averaging": Recipe(
        "gradients, and a pull to the mean of all points",
        lambda s, g, order: _with_memory(wrappers.historical_averaging(s.strength), g, order),
    ),
    "replay": Recipe(
        "each against an average of the others' past",
        lambda s, g, order: _with_memory(wrappers.replay(s.tau), g, order),
        players=SEVERAL,
    ),
}
"""Every solver by its public name."""
