"""Directions beside those of `games`: second-order ones, matrix-free, and those that look where the others go.

All are for joint moves. v is the field, J its Jacobian, a the solver's own step size. For sgd(a) of the players, with
the same a, a round is the update in the docstring; any other optax transformation is handed the same vector as a
gradient. Products with J come from `games.products`, so that means over micro-batches and devices are right.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg

from vaegan_jax.dynamics.foresight import SHARE
from vaegan_jax.dynamics.krylov import gmres
from vaegan_jax.games import Auxiliary, Direction, Field, Owners, Params, PyTree, products


def hamiltonian(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
    """J^T v, the gradient of |v|^2 / 2 (Balduzzi et al. 2018, section 3.1): w - a J^T v.

    It goes to any stationary point of the game, stable or not.
    """
    xi, auxiliary, _, transposed = products(field, point)
    return transposed(xi), auxiliary


def proximal(step: float, iterations: int, tolerance: float) -> Direction:
    """The implicit step w+ = w - a v(w+) (Rockafellar 1976), with the field linearized: w - a (I + a J)^-1 v.

    By GMRES, of at most so many iterations, until the residual is `tolerance` times |v|. Exact for linear fields.
    """

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        xi, auxiliary, forward, _ = products(field, point)
        return gmres(lambda u: optax.tree.add_scale(u, step, forward(u)), xi, iterations, tolerance), auxiliary

    return direction


def implicit(step: float, iterations: int) -> Direction:
    """The implicit step w+ = w - a v(w+) by so many fixed-point iterations u <- v(w - a u), which begin at v(w).

    They converge where a |J| < 1; one is extragradient with extrapolation a.
    """

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        def ahead(u: Params) -> tuple[Params, Auxiliary]:
            return field(optax.tree.add_scale(point, -step, u))

        u = jax.lax.fori_loop(1, iterations, lambda _, u: ahead(u)[0], field(point)[0])
        return ahead(u)

    return direction


def competitive(step: float, iterations: int, tolerance: float) -> Direction:
    """Competitive gradient descent of two players (Schäfer & Anandkumar 2019).

    x - a (I - a^2 J_xy J_yx)^-1 (v_x - a J_xy v_y), and y - a (v_y - a J_yx u_x) with u_x the vector of x. The
    paper's conjugate gradients need a symmetric matrix, which J_xy J_yx is in zero-sum games alone; GMRES, with as
    many products, does not.
    """

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        xi, auxiliary, forward, _ = products(field, point)
        first, second = owners.values()
        zero = jax.tree.map(jnp.zeros_like, xi)

        def crossed(vector: Params, to: tuple[str, ...]) -> Params:
            return part(forward(zero | vector), to)

        def schur(u: Params) -> Params:
            return optax.tree.add_scale(u, -(step**2), crossed(crossed(u, second), first))

        right = optax.tree.add_scale(part(xi, first), -step, crossed(part(xi, second), first))
        u = gmres(schur, right, iterations, tolerance)
        return u | optax.tree.add_scale(part(xi, second), -step, crossed(u, second)), auxiliary

    return direction


def linearized_competitive(step: float) -> Direction:
    """w - a (v - a J_o v), with J_o what is left of J without each player's own block (Schäfer & Anandkumar 2019)."""

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        xi, auxiliary, forward, _ = products(field, point)
        crossed = {}
        for owned in owners.values():
            others = xi | jax.tree.map(jnp.zeros_like, part(xi, owned))
            crossed |= part(forward(others), owned)
        return optax.tree.add_scale(xi, -step, crossed), auxiliary

    return direction


def follow_the_ridge(leader: str, damping: float, iterations: int, tolerance: float) -> Direction:
    """v_x for the leader x, and v_y - (J_yy + damping I)^-1 J_yx v_x for the follower y (Wang, Zhang & Ba 2020).

    By conjugate gradients, because J_yy, the Hessian of y's loss, is symmetric; near local minimax points it is
    positive. Where J_yy + damping is singular, as in bilinear games without damping, the result is not finite.
    """

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        xi, auxiliary, forward, _ = products(field, point)
        (follower,) = (owned for name, owned in owners.items() if name != leader)
        zero = jax.tree.map(jnp.zeros_like, xi)

        def curved(u: Params) -> Params:
            return optax.tree.add_scale(part(forward(zero | u), follower), damping, u)

        moved = part(forward(xi | part(zero, follower)), follower)
        ridge, _ = cg(curved, moved, tol=tolerance, maxiter=iterations)
        return xi | optax.tree.add_scale(part(xi, follower), -1, ridge), auxiliary

    return direction


def lookahead_opponent(step: float) -> Direction:
    """Each player's gradient where the others have stepped, w - a v, taking their step for given (Zhang & Lesser 2010).

    With sgd(b): x - b v_x(x, y - a v_y).
    """

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        ahead = optax.tree.add_scale(point, -step, field(point)[0])
        return each(owners, lambda name: field(ahead | part(point, owners[name])))

    return direction


def stable_opponent_shaping(bound: float, radius: float, share: float | None) -> Direction:
    """xi_0 + p (xi_1 - xi_0) of LookAhead's vector xi_0 and LOLA's xi_1 (Letcher et al. 2019, Algorithm 1).

    For games by `foresight.looking_ahead`, where the lookers take p as the share of LOLA's term. p is `share`, or by
    the paper's two criteria: the largest in [0, 1] for which <p (xi_1 - xi_0), xi_0> >= -bound |xi_0|^2, and at most
    |v|^2 where |v| < radius, the norm of the game's own field.
    """

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        if share is not None:
            return field(point | {SHARE: {"share": jnp.asarray(share)}})
        own, _ = field(point | {SHARE: {}})
        lookahead, _ = field(point | {SHARE: {"share": jnp.zeros(())}})
        lola, auxiliary = field(point | {SHARE: {"share": jnp.ones(())}})
        shaping = optax.tree.add_scale(lola, -1, lookahead)
        against, size = optax.tree.vdot(shaping, lookahead), optax.tree.norm(own, squared=True)
        safe = bound * optax.tree.norm(lookahead, squared=True) / jnp.where(against < 0, -against, 1)
        first = jnp.where(against < 0, jnp.minimum(1, safe), 1)
        second = jnp.where(size < radius**2, size, 1)
        return optax.tree.add_scale(lookahead, jnp.minimum(first, second), shaping), auxiliary

    return direction


def each(owners: Owners, result_of: Callable[[str], tuple[Params, Auxiliary]]) -> tuple[Params, Auxiliary]:
    """One result of many: of every player its own vector, stats and metrics, from where it was evaluated."""
    vector, stats, metrics = {}, {}, {}
    for name, owned in owners.items():
        slopes, (moved, told) = result_of(name)
        vector |= part(slopes, owned)
        stats |= {network: moved[network] for network in owned if network in moved}
        metrics |= {title: value for title, value in told.items() if title.startswith(f"{name}/")}
    return vector, (stats, metrics)


def part(tree: dict[str, PyTree], networks: tuple[str, ...]) -> dict[str, PyTree]:
    """The entries of these networks."""
    return {network: tree[network] for network in networks}
