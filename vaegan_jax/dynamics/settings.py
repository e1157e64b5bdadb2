"""Which solver, with which constants: a frozen dataclass that refuses what makes no sense."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from vaegan_jax.errors import UserError, check, check_fields, unknown

Name = Literal[
    "gradient",
    "simultaneous",
    "alternating",
    "two-time-scales",
    "heavy-ball",
    "nesterov",
    "negative-momentum",
    "extragradient",
    "optimistic",
    "optimistic-adam",
    "extra-adam",
    "consensus",
    "symplectic",
    "hamiltonian",
    "proximal",
    "competitive",
    "linearized-competitive",
    "lookahead-opponent",
    "lola",
    "sos",
    "unrolled",
    "follow-the-ridge",
    "lookahead-minmax",
    "anchored",
    "averaging",
    "historical-averaging",
    "replay",
]


@dataclass(frozen=True)
class Solver:
    """How a game is played. Each name has some of the constants; the others must stay as they are.

    The vector of a solver is handed to each player's own optax transformation as if it were a gradient. The closed
    forms of linear games hold for sgd(a) of all players; of those that have a `step` here, for step = a (another one
    is another solver, such as extragradient with a longer extrapolation). With Adam a round is Adam's, along the
    solver's vector.
    """

    name: Annotated[Name, tyro.conf.arg(name="")] = "gradient"  # so that it is the value of --solver itself
    """gradient plays the game as it is; `solvers.SOLVERS` says in a line what each of the others does."""
    step: float = 0.1
    """Step of what a solver does by itself, in units of the raw gradient: it extrapolates, solves or looks ahead so
    far (extragradient, proximal, competitive, linearized-competitive, lookahead-opponent, lola, sos, unrolled,
    anchored)."""
    player: str = ""
    """Whose updates are scaled (two-time-scales), who looks ahead (unrolled), who leads (follow-the-ridge): "min" or
    "generator" if not told. With momentum, who alone has it: all if not told."""
    factor: float = 0.25
    """Of that player's updates (two-time-scales)."""
    momentum: float = 0.5
    """beta: what is left of past gradients, in (-1, 1); negative-momentum takes it with a minus."""
    alpha: float = 1.0
    """Of (alpha + beta) g - beta g_ (optimistic, optimistic-adam)."""
    beta: float = 1.0
    """The optimism in it."""
    b1: float = 0.5
    """Adam's decay of the mean of gradients, for players that have no Adam of their own (optimistic-, extra-adam)."""
    b2: float = 0.9
    """Adam's decay of the mean of squared gradients, for the same."""
    gamma: float = 1.0
    """Weight of J^T v (consensus)."""
    lam: float = 1.0
    """Weight of A^T v (symplectic)."""
    align: bool = False
    """Gives it the sign that leads towards stable points, away from unstable ones (symplectic)."""
    method: Literal["gmres", "fixed-point"] = "gmres"
    """How the implicit step is found: of the linearized field, or by repeated evaluation (proximal)."""
    iterations: int = 10
    """At most so many, of the inner solver (proximal, competitive, follow-the-ridge)."""
    tolerance: float = 1e-6
    """Residual at which GMRES or conjugate gradients stop, relative to the right side."""
    share: float | None = None
    """Share of LOLA's term in [0, 1]; not told: by the paper's two criteria (sos)."""
    bound: float = 0.5
    """First criterion: LOLA's term may go against LookAhead's vector up to this part of its square, in (0, 1)."""
    radius: float = 0.1
    """Second criterion: norm of the field below which the share is at most its square, in (0, 1)."""
    inner_steps: int = 5
    """K, steps of the others that are looked through (unrolled)."""
    damping: float = 0.0
    """Added to the follower's Hessian (follow-the-ridge)."""
    k: int = 5
    """Rounds between two steps of the slow weights (lookahead-minmax)."""
    slow_step: float = 0.5
    """How much of the way to the fast weights they go, in (0, 1]."""
    average: Literal["uniform", "ema"] = "uniform"
    """Of which kind the mean is (averaging)."""
    decay: float = 0.99
    """What an exponential mean keeps in a round, in [0, 1)."""
    strength: float = 0.1
    """c, of the pull to the mean (historical-averaging)."""
    tau: float = 0.1
    """How much of the way to the last point the average opponent goes in a round, in (0, 1] (replay)."""

    def __post_init__(self):
        if self.name not in CONSTANTS:
            raise unknown("solver", str(self.name), CONSTANTS)
        check_fields(self)
        has = CONSTANTS[self.name]
        for field in dataclasses.fields(self):
            value, title = getattr(self, field.name), field.name.replace("_", "-")
            if field.name != "name" and field.name not in has and value != field.default:
                known = ", ".join(name.replace("_", "-") for name in has) or "no constants"
                raise UserError(f"solver {self.name} has no {title}: it has {known}")
            if field.name in RANGES and value is not None:
                number = isinstance(value, int | float) and not isinstance(value, bool)
                words, within = RANGES[field.name]
                check(number and math.isfinite(value) and within(value), f"{title} must be {words}, not {value!r}")


ABOVE, ALL = ("above 0", lambda x: x > 0), ("finite", lambda x: True)
COUNT, NOT_BELOW = ("at least 1", lambda x: x >= 1), ("0 or more", lambda x: x >= 0)
DECAY, PART = ("in [0, 1)", lambda x: 0 <= x < 1), ("in (0, 1]", lambda x: 0 < x <= 1)
RANGES = (
    dict.fromkeys(("step", "factor", "tolerance"), ABOVE)
    | dict.fromkeys(("alpha", "beta", "gamma", "lam", "strength"), ALL)
    | dict.fromkeys(("iterations", "inner_steps", "k"), COUNT)
    | dict.fromkeys(("b1", "b2", "decay"), DECAY)
    | dict.fromkeys(("slow_step", "tau"), PART)
    | dict.fromkeys(("bound", "radius"), ("in (0, 1)", lambda x: 0 < x < 1))
    | {
        "momentum": ("in (-1, 1)", lambda x: -1 < x < 1),
        "damping": NOT_BELOW,
        "share": ("in [0, 1]", lambda x: 0 <= x <= 1),
    }
)
"""What numbers may be, in words and as a test."""
CONSTANTS: dict[str, tuple[str, ...]] = {
    "gradient": (),
    "simultaneous": (),
    "alternating": (),
    "two-time-scales": ("player", "factor"),
    "heavy-ball": ("momentum", "player"),
    "nesterov": ("momentum", "player"),
    "negative-momentum": ("momentum", "player"),
    "extragradient": ("step",),
    "optimistic": ("alpha", "beta"),
    "optimistic-adam": ("alpha", "beta", "b1", "b2"),
    "extra-adam": ("b1", "b2"),
    "consensus": ("gamma",),
    "symplectic": ("lam", "align"),
    "hamiltonian": (),
    "proximal": ("step", "method", "iterations", "tolerance"),
    "competitive": ("step", "iterations", "tolerance"),
    "linearized-competitive": ("step",),
    "lookahead-opponent": ("step",),
    "lola": ("step",),
    "sos": ("step", "share", "bound", "radius"),
    "unrolled": ("step", "inner_steps", "player"),
    "follow-the-ridge": ("player", "damping", "iterations", "tolerance"),
    "lookahead-minmax": ("k", "slow_step"),
    "anchored": ("step",),
    "averaging": ("average", "decay"),
    "historical-averaging": ("strength",),
    "replay": ("tau",),
}
"""The constants of each solver."""
