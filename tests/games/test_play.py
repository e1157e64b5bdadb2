"""A round does what its docstring says: who moves, who sees what, who writes it, and what is told of it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from toys import (
    JOINT,
    KEY,
    TURNS,
    assert_close,
    bilinear,
    gan,
    gan_batch,
    gan_state,
    jit,
    rounds,
    split,
    still,
)

from vaegan_jax.games import Player, describe, example_keys, init, play


def test_a_game_of_one_player_is_bitwise_the_plain_optax_loop():
    rng = np.random.default_rng(8)
    shapes = {"hidden": (3, 16), "bias": (1, 16), "out": (16, 2)}
    weights = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    data = jnp.asarray(rng.normal(size=(20, 32, 5)), jnp.float32)
    tx = optax.adam(1e-2)

    def error(weights, data):
        hidden = jnp.tanh(data[:, :3] @ weights["hidden"] + weights["bias"])
        return jnp.mean((hidden @ weights["out"] - data[:, 3:]) ** 2)

    def loss(params, stats, batch, key, step):
        return error(params["mlp"], batch["data"]), ({}, {})

    @jax.jit
    def plain(weights, opt, data):
        value, slope = jax.value_and_grad(error)(weights, data)
        update, opt = tx.update(slope, opt, weights)
        return optax.apply_updates(weights, update), opt, value

    game = {"regression": Player(("mlp",), loss, tx)}
    state, round, opt = init(game, {"mlp": weights}), jax.jit(play(game, (("regression",),))), tx.init(weights)
    for examples in data:
        weights, opt, value = plain(weights, opt, examples)
        state, metrics = round(state, {"data": split(examples)}, KEY)
        np.testing.assert_array_equal(metrics["regression/loss"], value)
    chex.assert_trees_all_equal(state.params["mlp"], weights)
    chex.assert_trees_all_equal(jax.tree.leaves(state.opt), jax.tree.leaves(opt))
    assert int(state.step) == 20


def test_metrics_are_the_loss_its_own_and_the_norms_of_gradient_update_and_parameters():
    game, start = bilinear("xy", (optax.sgd(0.1), optax.sgd(0.2)), "float32")
    _, metrics = jit(play(game, TURNS))(init(game, {"x": 3 + start["x"], "y": 1 + start["y"]}), {}, KEY)
    expected = {  # x from 4 by -0.1 * 2, then y from 2 by 0.2 * 3.8
        **{"first/loss": 8, "first/gradient": 2, "first/update": 0.2, "first/parameters": 3.8},
        **{"second/loss": -7.6, "second/gradient": 3.8, "second/update": 0.76, "second/parameters": 2.76},
    }
    assert metrics.keys() == expected.keys()
    np.testing.assert_allclose([metrics[title] for title in expected], list(expected.values()), rtol=1e-6)


def test_a_frozen_network_belongs_to_a_player_that_never_moves_and_stays_bitwise_the_same():
    def loss(params, stats, batch, key, step):
        return jnp.sum((params["A"] - params["frozen"] + stats["frozen"]["mean"]) ** 2), ({}, {})

    frozen = Player(("frozen",), loss, optax.adam(0.1))
    game = {"a": Player(("A",), loss, optax.adam(0.1)), "nobody": frozen}
    start = init(game, {"A": jnp.zeros(2), "frozen": jnp.array([0.1, 0.7])}, {"frozen": {"mean": jnp.ones(2)}})
    state, _ = rounds(play(game, (("a",),)), start, {})
    chex.assert_trees_all_equal(state.params["frozen"], start.params["frozen"])
    chex.assert_trees_all_equal(state.stats["frozen"], start.stats["frozen"])
    chex.assert_trees_all_equal(state.opt["nobody"], start.opt["nobody"])
    assert (state.params["A"] != start.params["A"]).all()


# Who sees what, and who writes it


def seeing(tx=None):
    """Two players whose metrics show what their losses were given."""

    def player(own, other):
        def loss(params, stats, batch, key, step):
            metrics = {
                "other": params[other],
                "others stats": stats[other]["count"],
                "batch": jnp.sum(batch["image"]),
                "shape": jnp.array(batch["image"].shape),
                "noise": jax.random.normal(key),
                "step": step,
            }
            return 0.5 * params[own] ** 2, ({own: {"count": stats[own]["count"] + 1}}, metrics)

        return Player((own,), loss, tx or optax.sgd(0.5))

    game = {"first": player("A", "B"), "second": player("B", "A")}
    stats = {name: {"count": jnp.zeros((), jnp.int32)} for name in ("A", "B")}
    return game, init(game, {"A": jnp.array(1.0), "B": jnp.array(4.0)}, stats)


def images(moves):
    return {"image": 10.0 ** jnp.arange(moves)[:, None, None] * jnp.ones((moves, 1, 3))}


def test_players_of_one_move_see_the_same_point_stats_batch_and_key():
    game, state = seeing()
    _, metrics = jit(play(game, JOINT))(state, images(1), KEY)
    assert (metrics["first/other"], metrics["second/other"]) == (4, 1)
    assert (metrics["first/others stats"], metrics["second/others stats"]) == (0, 0)
    assert metrics["first/batch"] == metrics["second/batch"] == 3
    assert metrics["first/noise"] == metrics["second/noise"]


def test_players_of_two_moves_see_what_the_other_left_and_fresh_examples_and_noise():
    game, state = seeing()
    _, metrics = jit(play(game, TURNS))(state, images(2), KEY)
    assert (metrics["first/other"], metrics["second/other"]) == (4, 0.5)
    assert (metrics["first/others stats"], metrics["second/others stats"]) == (0, 1)
    assert (metrics["first/batch"], metrics["second/batch"]) == (3, 30)
    assert metrics["first/noise"] != metrics["second/noise"]


def test_a_loss_sees_one_micro_batch_of_one_move():
    game, state = seeing()
    _, metrics = jit(play(game, TURNS))(state, {"image": jnp.ones((2, 4, 3, 5))}, KEY)
    np.testing.assert_array_equal(metrics["second/shape"], [3, 5])


def test_movers_write_the_stats_of_their_own_networks_and_nothing_else_changes():
    game, state = seeing(optax.adam(0.1))
    after, _ = jit(play(game, (("first",), ("first",))))(state, images(2), KEY)
    assert (after.stats["A"]["count"], after.stats["B"]["count"]) == (2, 0)
    assert after.params["A"] != state.params["A"] and after.params["B"] == state.params["B"]
    chex.assert_trees_all_equal(after.opt["second"], state.opt["second"])
    assert after.opt["first"][0].count == 2
    assert after.step == 1


def test_stats_that_a_loss_does_not_return_stay_as_they_were():
    state = init({"a": still("A")}, {"A": jnp.ones(2)}, {"A": {"mean": jnp.array([0.1, 0.7])}})
    after, _ = jit(play({"a": still("A")}, (("a",),)))(state, {}, KEY)
    chex.assert_trees_all_equal(after.stats, state.stats)


def test_noise_is_that_of_the_root_key_the_step_and_the_move_and_of_nothing_else():
    game, start = seeing()
    round = jit(play(game, TURNS))

    def drawn(state, key, count=3):
        noises = []
        for _ in range(count):
            state, metrics = round(state, images(2), key)
            assert metrics["first/step"] == metrics["second/step"] == state.step - 1
            noises += [float(metrics["first/noise"]), float(metrics["second/noise"])]
        return noises

    noises = drawn(start, KEY)
    assert len(set(noises)) == 6
    assert drawn(start, KEY) == noises
    assert not set(drawn(start, jax.random.key(1))) & set(noises)
    # What a resumed run needs: nothing of the rounds before is in it.
    assert drawn(start._replace(step=jnp.array(2, jnp.int32)), KEY, 1) == noises[4:]


def walk(noisy):
    """A player whose place after some moves depends on the order of their examples and, if noisy, on their keys."""

    def loss(params, stats, batch, key, step):
        drawn = jnp.sum(jax.random.key_data(key).astype(float)) / 2.0**32 if noisy else 0
        target = jnp.mean(batch["image"]) + drawn
        count = {"A": {"count": stats["A"]["count"] + 1}}
        return 0.5 * (params["A"] - target) ** 2, (count, {"target": target, "count": count["A"]["count"]})

    game = {
        "first": Player(("A",), loss, optax.adam(0.3)),
        "idle": Player(("B",), lambda params, *_: (0 * params["B"], ({}, {})), optax.sgd(1.0)),
    }
    return game, init(game, {"A": jnp.array(1.0), "B": jnp.array(1.0)}, {"A": {"count": jnp.zeros((), jnp.int32)}})


def own(state, metrics):
    titles = [title for title in metrics if title.startswith("first/")]
    return state.params["A"], state.stats["A"], state.opt["first"], {title: metrics[title] for title in titles}


def test_a_dozen_equal_moves_are_a_dozen_rounds_of_one_without_noise(float64):
    game, start = walk(noisy=False)
    data = jnp.asarray(np.random.default_rng(9).normal(size=(12, 1, 3)))
    together, metrics = jit(play(game, (("first",),) * 12))(start, {"image": data}, KEY)
    single, state = jit(play(game, (("first",),))), start
    for index in range(12):
        state, last = single(state, {"image": data[index : index + 1]}, KEY)
    assert_close(own(together, metrics), own(state, last), 1e-12)
    assert (together.step, state.step) == (1, 12)


def test_a_dozen_equal_moves_in_a_loop_draw_what_they_draw_one_by_one(float64):
    # An idle player in every other move breaks the run of equal moves: the same round, unrolled. The run is not at 0.
    game, start = walk(noisy=True)
    data = {"image": jnp.asarray(np.random.default_rng(9).normal(size=(13, 1, 3)))}
    loop = jit(play(game, (("idle",), *(("first",),) * 12)))
    unrolled = jit(play(game, (("idle",), *(("first",), ("first", "idle")) * 6)))
    looped, flat = (round.trace(start, data, KEY).jaxpr.eqns for round in (loop, unrolled))
    assert "scan" in {equation.primitive.name for equation in looped}
    assert "scan" not in {equation.primitive.name for equation in flat}
    assert_close(own(*loop(start, data, KEY)), own(*unrolled(start, data, KEY)), 1e-12)


def test_one_trace_serves_all_rounds():
    game, traces = gan(), []
    critic = game["critic"]

    def counted(*arguments):
        traces.append(1)
        return critic.loss(*arguments)

    game["critic"] = critic._replace(loss=counted)
    chex.clear_trace_counter()
    round = jit(chex.assert_max_traces(play(game, (*(("critic",),) * 12, ("generator",))), n=1))
    state, batch = gan_state(game), gan_batch(moves=13)
    state, _ = round(state, batch, KEY)
    first = len(traces)
    for seed in range(4):
        state, _ = round(state, jax.tree.map(lambda leaf: leaf + 1, batch), jax.random.key(seed))
    assert len(traces) == first > 0
    assert round._cache_size() == 1


def test_numbers_of_no_definite_type_are_traced_once_too(float64):
    # `jnp.ones` times a Python number is float64 of a weak type until it has passed through a round.
    weak, count = jnp.asarray(1.0) * 0.5, []

    def loss(params, stats, batch, key, step):
        count.append(1)
        return params["A"] ** 2, ({"A": {"mean": jnp.where(stats["A"]["mean"] > 0, 0.5, 0.25), "calls": 3}}, {})

    assert jnp.asarray(0.5).weak_type and weak.weak_type
    game = {"a": Player(("A",), loss, optax.adam(0.1))}
    round, state = jit(play(game, (("a",),))), init(game, {"A": weak}, {"A": {"mean": jnp.asarray(0.5), "calls": 0}})
    for _ in range(3):
        state, _ = round(state, {}, KEY)
    assert len(count) == 1
    assert (state.stats["A"]["mean"], state.stats["A"]["calls"]) == (0.5, 3)


def test_example_keys_depend_on_the_place_in_the_global_batch_alone():
    def words_of(key, position):
        return np.asarray(compiled(key, {"position": position, "image": jnp.ones((6, 2))}))

    compiled = jit(lambda key, batch: jax.random.key_data(example_keys(key, batch)))
    position = np.random.default_rng(10).permutation(12)
    keys = np.concatenate([words_of(KEY, np.arange(6)), words_of(KEY, np.arange(6, 12))])
    np.testing.assert_array_equal(words_of(KEY, position[:6]), keys[position[:6]])
    np.testing.assert_array_equal(words_of(KEY, position[6:]), keys[position[6:]])
    assert len(np.unique(keys, axis=0)) == 12
    assert not (words_of(jax.random.key(1), np.arange(6)) == keys[:6]).all(axis=1).any()


def test_describe_is_a_table_of_players_networks_parameters_optimizers_and_moves():
    game = {
        "critic": Player(("critic", "encoder"), lambda *_: None, optax.adam(1e-3)),
        "generator": Player(("generator",), lambda *_: None, optax.sgd(0.1)),
        "frozen": Player(("vgg",), lambda *_: None, optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9))),
    }
    params = {"critic": {"kernel": jnp.ones((40, 30)), "bias": jnp.ones(34)}, "encoder": jnp.ones(())}
    params |= {"generator": {"kernel": jnp.ones((3, 2))}, "vgg": {}}
    table = describe(game, (*(("critic",),) * 5, ("critic", "generator")), init(game, params))
    assert table.splitlines() == [
        "player     networks        parameters  optimizer         moves a round",
        "critic     critic encoder  1,235       adam              6",
        "generator  generator       6           gradient descent  1",
        "frozen     vgg             0           trace             0",
    ]


def test_norms_are_measured_where_they_are_told_and_change_nothing(float64):
    game = gan()
    round, state, batch = play(game, (("critic",), ("generator",))), gan_state(game), gan_batch(moves=2)
    whole, measured = jit(round)(state, batch, KEY)
    traced = jit(round)
    for told in (True, False):
        other, metrics = traced(state, batch, KEY, jnp.asarray(told))
        assert_close(other, whole, 1e-12)
        for name, value in measured.items():
            norm = name.split("/")[1] in ("gradient", "update", "parameters")
            np.testing.assert_allclose(metrics[name], value if told or not norm else 0, 1e-12, err_msg=name)
    assert traced._cache_size() == 2  # of no bool, and of a traced one
