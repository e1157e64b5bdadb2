"""Each trick of the trade against NumPy, on networks that NumPy computes; and that all are off by default."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from by_hand import (
    DENSE,
    LARGE,
    LATENT,
    PIXELS,
    SPEC,
    STATS,
    WEIGHTS,
    N,
    X,
    Z,
    bits,
    fakes,
    filled,
    forward,
    layers,
    log_d,
    logits,
    noise,
    params,
    pay,
    still,
)

from vaegan_jax.games import POOL
from vaegan_jax.losses import adversarial
from vaegan_jax.models import adversarial_game, further_players, gan, techniques
from vaegan_jax.models.adversarial_game import Recall, Seams, Seen, Table
from vaegan_jax.models.gan_networks import Judgment
from vaegan_jax.models.techniques import Techniques

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def with_tricks(config=DENSE, **tricks):
    return replace(config, techniques=Techniques(**tricks))


def cross_entropy(real, fake):
    return -log_d(real) - log_d(-fake)


def difference(player, **tricks):
    """What a trick adds to a player's loss; nothing to the other's."""
    plain, paid = pay(DENSE), pay(with_tricks(**tricks))
    for other in set(plain) - {player}:
        assert bits(plain[other][0]) == bits(paid[other][0])
    return float(paid[player][0] - plain[player][0])


def test_all_are_off_by_default_and_then_change_no_bit(float64):
    value = adversarial.non_saturating()
    bare = Seams(gan.prior(DENSE), adversarial_game.value_terms(lambda table: value), told={})
    plain = pay(DENSE, **{name: getattr(bare, name) for name in ("terms", "view", "recall")})
    paid = pay(DENSE)
    assert set(paid) == set(plain) == {"discriminator", "generator"}
    assert all(bits(paid[name][0]) == bits(plain[name][0]) for name in paid)
    assert set(gan.networks(DENSE, SPEC)) == {"discriminator", "generator"}
    assert gan.schedule(DENSE) == (("discriminator",), ("generator",))


@pytest.mark.parametrize(
    ("value", "flipped"),
    [
        pytest.param("minimax", lambda fake: -log_d(fake), id="minimax"),
        pytest.param("hinge", lambda fake: np.maximum(0, 1 - fake), id="hinge"),
    ],
)
def test_with_flipped_labels_the_generator_pays_what_its_images_would_cost_as_real_ones(value, flipped, float64):
    paid = pay(with_tricks(replace(DENSE, value=value), flip_labels=True))
    np.testing.assert_allclose(paid["generator"][0], flipped(logits(fakes())).mean(), rtol=1e-12)
    plain = pay(replace(DENSE, value=value))
    assert bits(paid["discriminator"][0]) == bits(plain["discriminator"][0])


def test_noisy_labels_exchange_each_pair_with_their_probability_for_the_discriminator_alone(float64):
    """Each loss is that of one of 32 ways to exchange 5 pairs, and pairs are exchanged as often as asked for."""
    config, real, fake = with_tricks(noisy_labels=0.3), logits(X), logits(fakes())
    game = still(config)
    batch = {"image": jnp.asarray(X).reshape(N, *SPEC.image_shape), "position": jnp.arange(N)}

    @jax.jit
    @jax.vmap
    def losses(key):
        return tuple(player.loss(params(), STATS, batch, key, jnp.int32(0))[0] for player in game.values())

    discriminator, generator = map(np.asarray, losses(jax.random.split(jax.random.key(3), 400)))
    ways = np.array(list(itertools.product([False, True], repeat=N)))
    values = cross_entropy(np.where(ways, fake, real), np.where(ways, real, fake)).mean(1)
    distances = abs(discriminator[:, None] - values)
    assert distances.min(1).max() < 1e-12
    share = ways[distances.argmin(1)].mean()
    assert abs(share - 0.3) < 5 * np.sqrt(0.3 * 0.7 / (400 * N))
    np.testing.assert_allclose(generator, -log_d(fake).mean(), rtol=1e-12)


def test_instance_noise_has_its_deviation_and_falls_to_nothing_after_so_many_images(float64):
    """Two moves of 5 images: after 50 of 100 rounds half of it is left, after 100 nothing."""
    config = with_tricks(replace(DENSE, discriminator_moves=2), instance_noise=0.2, instance_noise_kimg=1.0)
    view, keys = jax.jit(gan.seams(config, SPEC).view), jax.random.split(jax.random.key(0), 2000)
    images = jnp.full((2000, *SPEC.image_shape), 0.5)
    noise = {step: np.asarray(view({}, images, keys, jnp.int32(step))) - 0.5 for step in (0, 50, 100, 10**9)}
    assert abs(noise[0].mean()) < 5 * 0.2 / np.sqrt(8000)
    assert abs(noise[0].std() - 0.2) < 5 * 0.2 / np.sqrt(16000)
    np.testing.assert_allclose(noise[50], noise[0] / 2, atol=1e-15)
    assert not noise[100].any() and not noise[10**9].any()
    lasting = gan.seams(with_tricks(instance_noise=0.2), SPEC).view
    np.testing.assert_allclose(lasting({}, images, keys, jnp.int32(10**9)) - 0.5, noise[0], atol=1e-15)


def test_orthogonality_is_of_the_generator_s_filters_and_leaves_their_lengths_free(float64):
    overlaps = [w.T @ w for w, _ in WEIGHTS["generator"]]
    expected = 0.3 * sum((o**2).sum() - (np.diagonal(o) ** 2).sum() for o in overlaps)
    np.testing.assert_allclose(difference("generator", orthogonality=0.3), expected, rtol=1e-12)


def test_noise_in_the_generator_is_there_in_training_for_both_players_and_in_no_sample(float64):
    """One layer has a noisy input, as large as that: the same noise for both players, of their own keys for latents."""
    config = with_tricks(generator_noise=0.2)
    plain, paid = pay(DENSE), pay(config)
    assert all(bits(plain[player][0]) != bits(paid[player][0]) for player in paid)
    bare = {name: (player, None) for name, player in pay(with_tricks(generator_noise=1e-9)).items()}
    for name, (player, _) in bare.items():
        np.testing.assert_allclose(player[0], plain[name][0], rtol=1e-6)
    keys, state = jax.random.split(jax.random.key(2), N), (params(), STATS)
    samples = [gan.sample(made, SPEC, *state, keys, train)[0] for made in (DENSE, config) for train in (False, True)]
    assert len(set(map(str, map(bits, samples)))) == 1


def test_a_lazy_penalty_is_paid_every_few_rounds_and_as_many_times_as_much(float64):
    config = replace(DENSE, penalty="r1", penalty_weight=2.0)
    lazy = replace(config, penalty_interval=4)
    always = pay(config)["discriminator"][2]["penalty"]
    paid = [pay(lazy, step=step)["discriminator"][2]["penalty"] for step in range(5)]
    assert always > 0
    np.testing.assert_allclose(paid, [4 * always, 0, 0, 0, 4 * always], rtol=1e-12)


def hidden(x):
    """The discriminator's features."""
    w, b = WEIGHTS["discriminator"][0]
    y = x @ w + b
    return np.where(y > 0, y, 0.2 * y)


def test_feature_matching_alone_is_the_squared_distance_of_mean_features(float64):
    paid = pay(with_tricks(feature_matching=0.7, adversarial_weight=0.0))
    matched = 0.7 * ((hidden(X).mean(0) - hidden(fakes()).mean(0)) ** 2).sum()
    np.testing.assert_allclose(paid["generator"][0], matched, rtol=1e-12)
    np.testing.assert_allclose(paid["generator"][2]["feature_matching"], matched, rtol=1e-12)
    np.testing.assert_allclose(paid["discriminator"][0], cross_entropy(logits(X), logits(fakes())).mean(), rtol=1e-12)


def test_augmentation_reaches_real_and_generated_images_in_both_losses(float64, monkeypatch):
    monkeypatch.setattr(techniques, "augment", lambda policy, images, keys, probability: 0.5 * images)
    paid = pay(with_tricks(augment="color"))
    real, fake = logits(0.5 * X), logits(0.5 * fakes())
    np.testing.assert_allclose(paid["discriminator"][0], cross_entropy(real, fake).mean(), rtol=1e-12)
    np.testing.assert_allclose(paid["generator"][0], -log_d(fake).mean(), rtol=1e-12)


def test_consistency_is_the_squared_difference_of_scores_of_an_image_and_its_changed_copy(float64, monkeypatch):
    monkeypatch.setattr(techniques, "augment", lambda policy, images, keys: 0.5 * images)
    for name, x in (("consistency", X), ("fake_consistency", fakes())):
        expected = 3 * ((logits(x) - logits(0.5 * x)) ** 2).mean()
        np.testing.assert_allclose(difference("discriminator", **{name: 3.0}), expected, rtol=1e-10)


@pytest.mark.parametrize("joint", [False, True])
def test_what_changes_nothing_costs_nothing_where_batch_norm_mixes_a_batch(joint, float64, monkeypatch):
    """A copy is judged beside the images that the original was judged beside, and is seen through the same noise."""
    monkeypatch.setattr(techniques, "augment", lambda policy, images, keys: images)
    plain = gan.Config(width=2, latent_size=LATENT, joint_batch=joint, techniques=Techniques(instance_noise=0.3))
    params, stats = filled(gan.networks(plain, LARGE))
    wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), (params, stats))
    batch = {"image": jnp.tanh(jnp.asarray(noise(4, 16, 16, 1))), "position": jnp.arange(4)}
    names = ("consistency", "fake_consistency", "latent_consistency")
    for deviation in (1e-300, 0.1):
        tricks = Techniques(**dict.fromkeys(names, 1.0), latent_deviation=deviation, instance_noise=0.3)
        game = gan.game(replace(plain, techniques=tricks), LARGE)
        _, (_, told) = game["discriminator"].loss(*wide, batch, jax.random.key(0), jnp.int32(0))
        assert [float(told[name]) for name in names[:2]] == [0.0, 0.0]
        assert (float(told["latent_consistency"]) > 0) == (deviation > 0.01)


def test_latent_consistency_and_diversity_are_of_images_of_latents_nearby(float64, monkeypatch):
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.full(shape, 2.0, dtype))
    near = np.tanh(forward(Z + 0.1 * 2, WEIGHTS["generator"], 0.0))
    found = difference("discriminator", latent_consistency=5.0, latent_deviation=0.1)
    np.testing.assert_allclose(found, 5 * ((logits(fakes()) - logits(near)) ** 2).mean(), rtol=1e-10)
    found = difference("generator", latent_diversity=0.5, latent_deviation=0.1)
    np.testing.assert_allclose(found, -0.5 * ((fakes() - near) ** 2).mean(), rtol=1e-10)


def test_reverse_kl_is_minus_the_mean_logit_and_for_the_best_discriminator_the_divergence(float64):
    found = difference("generator", reverse_kl=0.5)
    np.testing.assert_allclose(found, -0.5 * logits(fakes()).mean(), rtol=1e-12)
    data, model = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])  # D* = p / (p + q), its logit is log(p / q)
    drawn = np.array([0, 1, 2, 2, 2])  # as often as the model says
    term = gan.seams(with_tricks(reverse_kl=1.0), SPEC).terms["generator"]["reverse_kl"]
    paid = term(table(np.zeros(5), np.log(data / model)[drawn])).mean()
    np.testing.assert_allclose(paid, (model * np.log(model / data)).sum(), rtol=1e-12)


def test_an_autoencoding_generator_pays_for_rebuilding_and_its_encoder_a_vae_s_loss(float64, monkeypatch):
    """With draws of 0.5 for all noise, by NumPy: z = mean + deviation / 2."""
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, *_: jnp.full(shape, 0.5))
    config = with_tricks(autoencoding=0.3)
    encoder = layers((PIXELS, 6), (6, 2 * LATENT), seed=30)
    blocks = {f"Dense_{at}": {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)} for at, (w, b) in enumerate(encoder)}
    shapes = jax.eval_shape(gan.networks(config, SPEC)["encoder"].init, jax.random.key(0))[0]
    assert jax.tree.map(jnp.shape, blocks) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    plain = pay(DENSE)
    paid = pay(config, weights=params() | {"encoder": blocks}, stats=STATS | {"encoder": {}})
    assert set(paid) == {"discriminator", "generator", "encoder"}
    assert bits(paid["discriminator"][0]) == bits(plain["discriminator"][0])
    mean, log_variance = np.split(forward(X, encoder, 0.0), 2, axis=1)
    rebuilt = np.tanh(forward(mean + np.exp(log_variance / 2) / 2, WEIGHTS["generator"], 0.0))
    error = ((X - rebuilt) ** 2).sum(1).mean() / 2
    kl = (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1).mean() / 2
    np.testing.assert_allclose(paid["encoder"][0], error + kl, rtol=1e-10)
    np.testing.assert_allclose(paid["generator"][0] - plain["generator"][0], 0.3 * error, rtol=1e-9)
    assert gan.schedule(config) == (("discriminator",), ("generator", "encoder"))
    assert not paid["encoder"][1]
    again = gan.reconstruct(config, SPEC, params() | {"encoder": blocks}, STATS, jnp.asarray(X).reshape(-1, 2, 2, 1))
    np.testing.assert_allclose(again.reshape(len(X), -1), np.tanh(forward(mean, WEIGHTS["generator"], 0.0)), rtol=1e-9)
    assert gan.encodes(config) and not gan.encodes(DENSE)


def test_an_autoencoder_sees_images_as_they_come(float64, monkeypatch):
    """Not with the discriminator's noise or augmentation, which would leak into what the generator makes."""
    config = with_tricks(autoencoding=0.3)
    blocks = filled({"encoder": gan.networks(config, SPEC)["encoder"]})[0]
    paid = [
        pay(made, weights=params() | blocks, stats=STATS | {"encoder": {}})["encoder"][0]
        for made in (config, with_tricks(autoencoding=0.3, instance_noise=0.5, augment="all"))
    ]
    assert bits(paid[0]) == bits(paid[1])


def table(real, fake, **numbers):
    """What lies open where only scores and a player's numbers matter."""
    seen = [Seen(None, None, None, Judgment(jnp.asarray(scores), None)) for scores in (real, fake)]
    open_to = {"real": seen[0], "fake": seen[1], "params": jax.tree.map(jnp.asarray, numbers)}
    return Table(**dict.fromkeys(Table._fields) | open_to)


def stepping(part, name):
    """From the numbers of a trick's player, and scores, to the numbers after a move."""

    @jax.jit
    def step(block, real, fake):
        slope = jax.grad(lambda own: part.terms["value"](table(real, fake, **{name: own})))(block)
        update, _ = part.tx.update(slope, part.tx.init(block), block)
        return optax.apply_updates(block, update)

    return step


def test_lecam_pays_for_the_distance_from_the_other_kind_s_anchor(float64):
    weights = params() | {"anchors": {"real": jnp.asarray(0.4), "fake": jnp.asarray(-0.3)}}
    plain, paid = pay(DENSE), pay(with_tricks(lecam=0.3), weights=weights)
    expected = 0.3 * (((logits(X) + 0.3) ** 2).mean() + ((logits(fakes()) - 0.4) ** 2).mean())
    np.testing.assert_allclose(paid["discriminator"][0] - plain["discriminator"][0], expected, rtol=1e-10)
    assert bits(paid["generator"][0]) == bits(plain["generator"][0])
    schedule = gan.schedule(with_tricks(replace(DENSE, discriminator_moves=2), lecam=0.3))
    assert schedule == (("discriminator", "anchors"),) * 2 + (("generator",),)


def test_lecam_s_anchors_are_the_moving_averages_of_equation_3(float64):
    part = further_players.anchors(Techniques(lecam=0.3, lecam_decay=0.9))
    block, _ = part.network.init(jax.random.key(0))
    expected, step = {"real": 0.0, "fake": 0.0}, stepping(part, "anchors")
    for seed in range(5):
        scores = dict(zip(expected, np.random.default_rng(seed).normal(size=(2, 5)), strict=True))
        block = step(block, scores["real"], scores["fake"])
        expected = {name: 0.9 * before + 0.1 * scores[name].mean() for name, before in expected.items()}
        for name, value in expected.items():
            np.testing.assert_allclose(block[name], value, rtol=1e-13)


def test_the_probability_of_adaptive_augmentation_moves_by_its_step_and_stays_in_0_to_1(float64):
    """Up where the discriminator is surer of real images than the target, down where it is less so."""
    part = further_players.augmentation(Techniques(augment="color", adaptive=0.5), 50)
    step, move = 50 / (1000 * 500), stepping(part, "augmentation")
    assert float(part.network.init(jax.random.key(0))[0]["p"]) == 0.0
    sure, unsure = np.array([2.0, 1.0, 3.0, 0.1]), np.array([2.0, 1.0, 3.0, -0.1])  # r = 1, r = 0.5
    for p, scores, after in (
        (0.25, sure, 0.25 + step),
        (0.25, -sure, 0.25 - step),
        (0.25, unsure, 0.25),
        (0.0, -sure, 0.0),
        (1.0, sure, 1.0),
        (1 - step / 2, sure, 1.0),
    ):
        found = move({"p": jnp.asarray(p)}, scores, scores)["p"]
        np.testing.assert_allclose(found, after, atol=1e-16, rtol=0)


def test_images_are_augmented_with_the_adaptive_probability(float64):
    config = with_tricks(augment="color", adaptive=0.6)
    view, keys = jax.jit(gan.seams(config, SPEC).view), jax.random.split(jax.random.key(0), 2000)
    images = jnp.full((2000, *SPEC.image_shape), 0.5)
    for p in (0.0, 0.3, 1.0):
        seen = np.asarray(view({"augmentation": {"p": jnp.asarray(p)}}, images, keys, jnp.int32(0)))
        changed = (seen != 0.5).any((1, 2, 3)).mean()  # by its brightness: gray of one value has nothing else to lose
        assert abs(changed - p) <= 5 * np.sqrt(p * (1 - p) / 2000)


@pytest.mark.parametrize("size", [2, 4, 5, 8])
def test_the_pool_is_a_queue_that_shows_each_image_exactly_once(size):
    """Batches of 4, of which 2 enter the pool; the first `size` of these are shown at once, too."""
    recall = jax.jit(gan.seams(with_tricks(replay=size), replace(SPEC, batch_size=4)).recall)
    pool = {"images": jnp.zeros((size, 1, 1, 1)), "count": jnp.int32(0)}
    stats, shown = {POOL: pool}, []
    for move in range(12):
        images = 1.0 + 4 * move + jnp.arange(4.0).reshape(4, 1, 1, 1)
        images, stats = recall(Recall(images, stats))
        shown.append(np.asarray(images).ravel().astype(int) - 1)
    for move, ids in enumerate(shown):
        assert list(ids[2:]) == [4 * move + 2, 4 * move + 3]
    entered = [4 * move + place for move in range(12) for place in (0, 1)]
    queue = entered[:size] + entered  # the filling ones at once, then each in its turn
    assert [image for ids in shown for image in ids[:2]] == queue[: 2 * len(shown)]
    left = np.sort(np.asarray(stats[POOL]["images"]).ravel().astype(int) - 1)
    assert list(left) == sorted(entered[-size:]) and int(stats[POOL]["count"]) == 24


def test_the_discriminator_is_shown_the_pool_and_the_generator_its_own_images(float64):
    config, old = with_tricks(replay=2), np.tanh(Z[:2] @ np.ones((LATENT, PIXELS)))
    pool = {"images": jnp.asarray(old).reshape(2, *SPEC.image_shape), "count": jnp.int32(2)}
    paid = pay(config, stats=STATS | {"discriminator": {POOL: pool}})
    shown = np.concatenate([old, fakes()[2:]])
    np.testing.assert_allclose(paid["discriminator"][0], cross_entropy(logits(X), logits(shown)).mean(), rtol=1e-12)
    np.testing.assert_allclose(paid["generator"][0], -log_d(logits(fakes())).mean(), rtol=1e-12)
    after = paid["discriminator"][1]["discriminator"][POOL]
    np.testing.assert_allclose(np.asarray(after["images"]).reshape(2, PIXELS), fakes()[:2], rtol=1e-12)
    assert paid["generator"][1] == {"generator": {}}
    params, stats = gan.networks(config, SPEC)["discriminator"].init(jax.random.key(0))
    assert stats[POOL]["images"].shape == (2, *SPEC.image_shape) and int(stats[POOL]["count"]) == 0
