"""States as named arrays, their digest, and the checkpoints that hold them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.games import Player, State, init
from vaegan_jax.training.averaging import start
from vaegan_jax.training.checkpoint import Checkpoints, digest, flatten, unflatten


def state(seed=0, transformation=None):
    """Two players, one with Adam and one with a chain of transformations, batch statistics, and an average."""
    draw = np.random.default_rng(seed).normal

    def network(*shape):
        return {"Dense_0": {"kernel": jnp.asarray(draw(size=shape), jnp.float32), "bias": jnp.zeros(shape[-1])}}

    params = {"generator": network(3, 4), "discriminator": network(4, 1)}
    stats = {"generator": {"batch_stats": {"BatchNorm_0": {"mean": jnp.asarray(draw(size=4), jnp.float32)}}}}
    chain = transformation or optax.chain(optax.clip_by_global_norm(1.0), optax.trace(0.9), optax.scale(-0.1))
    game = {
        "generator": Player(("generator",), None, optax.adam(1e-3)),
        "discriminator": Player(("discriminator",), None, chain),
    }
    made = start(init(game, params, stats), ("generator",))
    # Nothing stays zero, so that a leaf that is lost or swapped is seen.
    filled = lambda leaf: leaf + jnp.asarray(100 * draw(size=leaf.shape)).astype(leaf.dtype)  # noqa: E731
    return jax.tree.map(filled, made)


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_every_leaf_of_a_state_has_a_name_and_comes_back_by_it():
    first = state()
    arrays = flatten(first)
    assert len(arrays) == len(jax.tree.leaves(first))
    assert {
        "step",
        "params.generator.Dense_0.kernel",
        "stats.generator.batch_stats.BatchNorm_0.mean",
        "opt.generator.0.mu.generator.Dense_0.bias",
        "opt.discriminator.1.trace.discriminator.Dense_0.kernel",
        "averages.generator.Dense_0.kernel",
    } <= set(arrays)
    shuffled = dict(reversed(arrays.items()))
    for template in (state(seed=1), jax.eval_shape(state)):
        assert_same(unflatten(template, shuffled), first)


def test_flattened_arrays_are_copies_on_the_host():
    first = state()
    arrays = flatten(first)
    for name, leaf in jax.tree_util.tree_leaves_with_path(first.params):
        array = arrays[jax.tree_util.keystr((jax.tree_util.GetAttrKey("params"), *name), simple=True, separator=".")]
        assert isinstance(array, np.ndarray) and array.flags.owndata
        before = np.asarray(leaf).copy()
        array += 1
        np.testing.assert_array_equal(leaf, before)


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda a: a | {"params.generator.Dense_0.kernel": np.zeros((3, 5), np.float32)},
            r"params.generator.Dense_0.kernel should be float32\[3, 4\] and is float32\[3, 5\] \(1 such\)",
        ),
        (
            lambda a: a | {"step": np.zeros((), np.int64)},
            r"step should be int32\[\] and is int64\[\] \(1 such\)",
        ),
        (
            lambda a: without(a, "params.discriminator.Dense_0.bias"),
            r"params.discriminator.Dense_0.bias should be float32\[1\] and is absent \(1 such\)",
        ),
        (
            lambda a: a | {"params.critic.w": np.zeros(2, np.float32), "stats.z": np.zeros(())},
            r"params.critic.w should be absent and is float32\[2\] \(2 such\)",
        ),
    ],
    ids=["shape", "type", "missing", "too many"],
)
def test_arrays_that_do_not_fit_are_refused_naming_the_first(change, told):
    with pytest.raises(UserError, match=f"^the checkpoint is of another model than config.json says: {told}$"):
        unflatten(state(), change(flatten(state())))


def test_another_optimizer_does_not_fit():
    with pytest.raises(UserError, match=r"opt\.discriminator.*should be"):
        unflatten(state(), flatten(state(transformation=optax.adam(1e-3))))


ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7, np.int32), "c": np.zeros(0, np.float32)}


def test_the_digest_does_not_depend_on_order_or_layout():
    known = digest(ARRAYS)
    assert len(known) == 64
    assert digest(dict(reversed(ARRAYS.items()))) == known
    assert digest(ARRAYS | {"b": np.asfortranarray(ARRAYS["b"])}) == known
    assert digest(ARRAYS | {"b": np.repeat(ARRAYS["b"], 2, axis=1)[:, ::2]}) == known


def flipped(array, bit):
    """The array with one bit of all turned over."""
    content = np.frombuffer(array.tobytes(), np.uint8).copy()
    content[bit // 8] ^= 1 << bit % 8
    return np.frombuffer(content.tobytes(), array.dtype).reshape(array.shape)


@pytest.mark.parametrize(
    "changed",
    [
        *({"b": flipped(ARRAYS["b"], bit)} for bit in (0, 7, 100, 191)),
        {"a": flipped(ARRAYS["a"], 31)},
        {"b": ARRAYS["b"].reshape(3, 2)},
        {"b": ARRAYS["b"].view(np.int32)},
        {"a": ARRAYS["a"].reshape(1)},
        {"c": np.zeros((0, 2), np.float32)},
        {"d": np.zeros(0)},
    ],
    ids=["first bit", "bit 7", "bit 100", "last bit", "sign", "shape", "type", "rank", "empty shape", "one more"],
)
def test_the_digest_feels_any_change(changed):
    assert digest(ARRAYS | changed) != digest(ARRAYS)


def test_the_digest_feels_names():
    assert digest({"a": ARRAYS["b"], "b": ARRAYS["a"], "c": ARRAYS["c"]}) != digest(ARRAYS)
    assert digest(without(ARRAYS, "c")) != digest(ARRAYS)
    zero = np.zeros(2)
    assert digest({"a": zero}) != digest({"b": zero})
    assert digest({"a": zero, "b": zero + 1}) != digest({"a": zero + 1, "b": zero})


def test_minus_zero_and_nan_are_what_they_are():
    assert digest({"a": np.array([0.0])}) != digest({"a": np.array([-0.0])})
    assert digest({"a": np.array([np.nan])}) == digest({"a": np.array([np.nan])})


def test_what_is_restored_is_what_was_saved_bit_for_bit(tmp_path):
    first = state()
    first.stats["generator"]["half"] = jnp.asarray([1.0, -0.0, jnp.nan], jnp.bfloat16)
    with Checkpoints(tmp_path / "checkpoints", write=True) as checkpoints:
        assert checkpoints.restore() is None
        checkpoints.save(7, first)
        checkpoints.wait()
        assert checkpoints.last_good == 7
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        step, arrays, damage = checkpoints.restore()
    assert (step, damage) == (7, [])
    assert digest(arrays) == digest(flatten(first))
    assert_same(unflatten(jax.eval_shape(lambda: first), arrays), first)


def test_a_state_may_be_overwritten_as_soon_as_save_returns(tmp_path):
    """The next step takes its buffers while the checkpoint is being written."""
    first = state()
    expected = digest(flatten(first))
    with Checkpoints(tmp_path / "checkpoints", write=True) as checkpoints:
        checkpoints.save(1, first)
        for leaf in jax.tree.leaves(first):
            leaf.delete()
        checkpoints.wait()
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert digest(checkpoints.restore()[1]) == expected


def test_the_last_few_are_kept_and_the_newest_is_restored(tmp_path):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder, keep=2, write=True) as checkpoints:
        for step in (3, 20, 100, 1000):
            checkpoints.save(step, State(jnp.int32(step), {"a": jnp.zeros(2)}, {}, {}))
        checkpoints.wait()
        assert sorted(int(path.name) for path in folder.iterdir()) == [100, 1000]
        step, arrays, _ = checkpoints.restore()
    assert step == arrays["step"] == 1000


def test_a_run_without_checkpoints_is_told_of_when_read(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} has no checkpoint yet: let it train, or `vaegan resume"):
        Checkpoints(tmp_path / "checkpoints")
