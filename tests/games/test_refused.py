"""What does not fit is refused by a message that names it."""

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from toys import COUNTED, KEY, still

from vaegan_jax.games import POOL, init, play


def trace(game, schedule=(("a",),), batch=None, key=KEY, stats=None, others=None):
    """A round without compiling it; `others` are parameters that `init` did not see."""
    state = init(game, {network: jnp.ones(2) for player in game.values() for network in player.owns}, stats)
    return jax.eval_shape(play(game, schedule), state._replace(params=state.params | (others or {})), batch or {}, key)


TWO = {"a": still("A"), "b": still("B")}
REFUSED = {
    "a network without an owner, in init": (
        lambda: init({"a": still("A")}, {"A": jnp.ones(2), "B": jnp.ones(2), "C": jnp.ones(2)}),
        ["nobody owns B, C"],
    ),
    "a network without an owner, when traced": (
        lambda: trace({"a": still("A")}, others={"B": jnp.ones(2)}),
        ["nobody owns B"],
    ),
    "a network owned twice, in init": (
        lambda: init({"a": still("A"), "b": still("B", "A")}, {"A": jnp.ones(2), "B": jnp.ones(2)}),
        ["A is owned twice", "by a and by b"],
    ),
    "a network owned twice, in play": (
        lambda: play({"a": still("A"), "b": still("B", "A")}, (("a",),)),
        ["A is owned twice", "by a and by b"],
    ),
    "an owner of a network without parameters": (
        lambda: init({"a": still("A", "B")}, {"A": jnp.ones(2)}),
        ["no parameters for B (of a)"],
    ),
    "a player that is not in the game": (lambda: play(TWO, (("a",), ("c",))), ["moves c", "a, b"]),
    "a player twice in one move": (
        lambda: play(TWO, (("a",), ("b", "a", "b"))),
        ["b would step twice", "('b', 'a', 'b')"],
    ),
    "a move without players": (lambda: play(TWO, (("a",), ())), ["a move without players"]),
    "a schedule without moves": (lambda: play(TWO, ()), ["no moves"]),
    "a player's name in place of a move": (lambda: play(TWO, ("a", "b")), ["('a',)"]),
    "a batch for another number of moves": (
        lambda: trace(TWO, (("a",), ("b",)), {"image": jnp.ones((3, 1, 4))}),
        ["image is (3, 1, 4)", "2 moves"],
    ),
    "a batch without axes for moves and micro-batches": (
        lambda: trace(TWO, batch={"image": jnp.ones((1, 4))}),
        ["image is (1, 4)", "1 moves, micro-batches, examples"],
    ),
    "leaves of a batch with different numbers of micro-batches": (
        lambda: trace(TWO, batch={"image": jnp.ones((1, 2, 4)), "position": jnp.ones((1, 1, 4))}),
        ["image 2 x 4", "position 1 x 4"],
    ),
    "leaves of a batch with different numbers of examples": (
        lambda: trace(TWO, batch={"image": jnp.ones((1, 1, 4)), "position": jnp.ones((1, 1, 8))}),
        ["image 1 x 4", "position 1 x 8"],
    ),
    "a batch without micro-batches": (lambda: trace(TWO, batch={"image": jnp.ones((1, 0, 4))}), ["image 0 x 4"]),
    "a metric with a name of the engine's": (
        lambda: trace({"a": still("A", metrics={"update": jnp.ones(()), "loss": jnp.ones(())})}),
        ["loss of a", "loss, update", "rename"],
    ),
    "a key of the old kind": (lambda: trace(TWO, key=jax.random.PRNGKey(0)), ["jax.random.key(seed)", "threefry"]),
    "a key of rbg": (lambda: trace(TWO, key=jax.random.key(0, impl="rbg")), ["rbg", "threefry"]),
    "a key of unsafe_rbg": (lambda: trace(TWO, key=jax.random.key(0, impl="unsafe_rbg")), ["rbg", "threefry"]),
    "stats of a network that is another's": (
        lambda: trace({"a": still("A", stats=lambda old: {"B": old["B"]}), "b": still("B")}, stats=COUNTED | {"B": {}}),
        ["loss of a", "stats of B", "not own"],
    ),
    "stats of a network that there is not, in init": (
        lambda: init({"a": still("A")}, {"A": jnp.ones(2)}, COUNTED | {"B": {}, "C": {}}),
        ["stats of B, C", "networks are A"],
    ),
    "stats that became a Python number of another type": (
        lambda: trace({"a": still("A", stats=lambda old: {"A": old["A"] | {"count": 1.5}})}, stats=COUNTED),
        ["loss of a", "whole stats of A", "int32", "float32"],
    ),
    "stats of another structure": (
        lambda: trace({"a": still("A", stats=lambda old: {"A": {"mean": old["A"]["mean"]}})}, stats=COUNTED),
        ["loss of a", "whole stats of A", "count"],
    ),
    "stats of another type": (
        lambda: trace({"a": still("A", stats=lambda old: {"A": old["A"] | {"count": jnp.zeros(())}})}, stats=COUNTED),
        ["loss of a", "whole stats of A", "int32", "float32"],
    ),
    "stats of another shape": (
        lambda: trace({"a": still("A", stats=lambda old: {"A": old["A"] | {"mean": jnp.zeros(3)}})}, stats=COUNTED),
        ["loss of a", "whole stats of A", "(2,)", "(3,)"],
    ),
    "a pool of examples that would be averaged over micro-batches": (
        lambda: trace(
            {"a": still("A", stats=lambda old: old)},
            batch={"image": jnp.ones((1, 2, 4))},
            stats={"A": {POOL: jnp.ones((5, 3))}},
        ),
        [POOL, "accumulated"],
    ),
}


@pytest.mark.parametrize(("attempt", "names"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_by_a_message_that_names_it(attempt, names, monkeypatch):
    # As users run it: beartype, which is only here in tests, would be first to refuse some of it.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError) as caught:
        attempt()
    for name in names:
        assert name in str(caught.value)
