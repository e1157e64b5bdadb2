"""Truncated latents have the truncated normal's moments, and samples the statistics of such latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.games import State
from vaegan_jax.models import biggan, gan, infogan, truncating, vae
from vaegan_jax.networks import binned
from vaegan_jax.networks.network import Network
from vaegan_jax.training.averaging import standing_statistics
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import STANDING, assemble, example_range, generate, weights_for_sampling

pytestmark = pytest.mark.usefixtures("compiled_quickly")
KEYS = jax.random.split(jax.random.key(0), 4000)
SPEC = DataSpec("made up", (8, 8, 1))
DENSE = gan.Config(network="mlp", hidden_sizes=(8,), latent_size=3, generator_norm="batch")
PUBLISHED = biggan.Config(latent_size=8, width=4, prior="truncated", statistics_bins=51)


@pytest.mark.parametrize("config", [DENSE, vae.Config(latent_size=3)], ids=["gan", "vae"])
def test_a_normal_prior_is_cut_off_at_the_threshold_as_by_drawing_again(config):
    for cut in (2.0, 0.5):
        z = np.asarray(truncating.truncated_prior(config, cut)(KEYS))
        assert z.shape == (4000, 3) and np.abs(z).max() <= cut
        assert scipy.stats.kstest(z.ravel(), scipy.stats.truncnorm(-cut, cut).cdf).pvalue > 1e-3
    assert truncating.told(config, 0.5) == "0.5" and truncating.told(config, None) == "none"


def test_published_generators_latents_are_the_truncation_times_a_normal_within_2():
    z = np.asarray(truncating.truncated_prior(PUBLISHED, 0.25)(KEYS))
    assert np.abs(z).max() <= 0.5
    assert scipy.stats.kstest(4 * z.ravel(), scipy.stats.truncnorm(-2, 2).cdf).pvalue > 1e-3
    assert truncating.told(PUBLISHED, 0.25) == "0.25 x normal within 2"


@pytest.mark.parametrize(
    ("config", "cut", "told"),
    [
        (DENSE, 0.0, "truncation must be above 0 and finite, not 0.0"),
        (DENSE, -1.0, "not -1.0"),
        (DENSE, float("nan"), "not nan"),
        (DENSE, float("inf"), "not inf"),
        (gan.Config(prior="uniform"), 1.0, "truncation is of a normal prior, and that of this gan is a uniform one"),
        (infogan.Config(), 1.0, "that of this infogan is noise and codes"),
        (PUBLISHED, 1.5, "truncation must be at most 1 for biggan with statistics of its own"),
    ],
)
def test_what_cannot_be_truncated_is_refused_in_one_line(config, cut, told):
    with pytest.raises(UserError, match=told):
        truncating.truncated_prior(config, cut)


def test_statistics_at_a_truncation_are_those_of_its_bins_weighed_as_the_published_programs_do():
    def init(key):
        return {}, {"batch_stats": {"mean": jnp.zeros(2), "variance": jnp.ones(2)}}

    network = binned.binned(Network(init, None), 51)
    _, stats = network.init(KEYS[0])
    assert stats[binned.COLLECTION]["mean"].shape == (51, 2) and stats[binned.COLLECTION]["variance"].min() == 1
    table = np.random.default_rng(0).normal(size=(51, 2)).astype(np.float32)
    stats[binned.COLLECTION]["mean"] = jnp.asarray(table)
    expected = {1.0: table[50], 0.5: table[25], 0.02: table[1], 0.505: 0.25 * table[25] + 0.75 * table[26]}
    for cut, value in expected.items():
        np.testing.assert_allclose(binned.at(stats, cut)["batch_stats"]["mean"], value, rtol=1e-5)


@pytest.mark.parametrize(
    "halflife", [pytest.param(10.0, marks=pytest.mark.slow, id="averaged"), pytest.param(0.0, id="last weights")]
)
def test_standing_statistics_are_of_latents_truncated_alike(halflife):
    training = TrainingConfig(ema_halflife_kimg=halflife)
    experiment = assemble(RunConfig(DENSE, steps=1, batch_size=4, training=training), SPEC)
    state: State = first_state(experiment)
    params, stats, told = weights_for_sampling(experiment, state, 0.5)
    kind = "averaged weights (half-life 10 kimg)" if halflife else "last weights"
    assert told == f"{kind}, standing statistics of 8 x 128 latents truncated at 0.5"
    keys = [example_range(jax.random.fold_in(experiment.key(STANDING), batch), 0, 128) for batch in range(8)]
    prior = truncating.truncated_prior(DENSE, 0.5)

    def sample(params, stats, keys, train):
        return gan.sample(DENSE, experiment.spec, params, stats, keys, train, prior=prior)

    expected = standing_statistics(
        jax.jit(sample, static_argnames="train"), ("generator",), params, state.stats, jnp.stack(keys)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), stats, expected)
    whole = weights_for_sampling(experiment, state)[1]
    spread = [jax.tree.leaves(each["generator"]["batch_stats"])[1] for each in (stats, whole)]
    assert not halflife or (spread[0] < 0.5 * spread[1]).all()
    images = generate(experiment, params, stats, 3, seed=5, truncation=0.5)
    z = prior(example_range(jax.random.fold_in(jax.random.key(5), 2), 0, 3))
    np.testing.assert_allclose(images, gan.generate(DENSE, experiment.spec, params, stats, z), atol=1e-5)
