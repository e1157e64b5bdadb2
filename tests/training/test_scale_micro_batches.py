"""A batch in parts: the field of the whole batch wherever examples are not mixed; where they are, named or refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scaling import SOURCE, batch_of, experiment_of, filled
from switches import NAMES, SWITCHES, config_of, sensible

from vaegan_jax.data.batches import fetch
from vaegan_jax.errors import UserError
from vaegan_jax.games import joint
from vaegan_jax.models import CONFIGS, gan
from vaegan_jax.models.techniques import Techniques
from vaegan_jax.training.accumulating import ghost
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, assemble

PLAIN = {"generator_norm": "none", "discriminator_norm": "none"}
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def field_of(model, parts):
    """Every player's gradient, and all new stats, in one move of all; in float64, from numbers by NumPy."""
    experiment = experiment_of(model, parts)
    shapes = state_shapes(experiment)
    kind = lambda leaf: float if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype  # noqa: E731
    state = filled(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, kind(leaf)), shapes))
    if "augmentation" in state.params:  # a probability
        state.params["augmentation"]["p"] = np.asarray(0.5)

    def field(state, indices, store):
        batch = fetch(store, indices)
        vector, (stats, _) = joint(experiment.game, state, batch, experiment.key(PLAY))(state.params)
        return vector, stats

    return jax.jit(field)(state, *batch_of(experiment))


def assert_equal_fields(model, tolerance=1e-12, parts=4):
    (whole, stats), (accumulated, moved) = (field_of(model, count) for count in (1, parts))
    for name, network in whole.items():
        largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(network))
        assert largest > 0
        for a, b in zip(jax.tree.leaves(network), jax.tree.leaves(accumulated[name]), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest, err_msg=name)
    for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def test_four_parts_of_a_batch_have_its_field_where_no_statistics_are_of_the_batch(float64):
    """Spectral norm in both, projections, layer norms, a penalty; each part holds the same incoming vectors."""
    norms = {"generator_norm": "layer", "discriminator_norm": "none", "spectral": "both"}
    told = {"value": "hinge", "condition": "projection", "penalty": "gradient"}
    assert_equal_fields(gan.Config("mlp", 4, hidden_sizes=(6,), **norms, **told))


@pytest.mark.parametrize(
    "network", [pytest.param("resnet", marks=pytest.mark.slow), pytest.param("sndcgan", marks=pytest.mark.soak)]
)
def test_so_have_those_of_convolutional_networks_with_attention(network, float64):
    norms = {"generator_norm": "layer", "discriminator_norm": "none", "spectral": "both", "attention": 8}
    told = {"value": "hinge", "condition": "projection", "condition_place": "norm"}
    assert_equal_fields(gan.Config(network, 4, width=8, **norms, **told), 1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "infogan"])  # whose recognition has a batch norm
def test_of_every_model_it_is_so_or_it_is_refused(name, float64):
    model = dataclasses.replace(config_of(name, ()), **PLAIN)
    try:
        assert_equal_fields(model, 1e-11)
    except UserError as error:
        assert "of the batch, and a micro-batch is only a part of it: use micro-batches 1" in str(error)
        assert name in ("ragan", "coulomb-gan", "dragan", "lgan", "ebgan")


@pytest.mark.slow
@pytest.mark.parametrize("switch", [name for name in SWITCHES if name in sensible("gan")])
def test_of_every_switch_too(switch, float64):
    model = dataclasses.replace(config_of("gan", (switch,)), **PLAIN)
    try:
        assert_equal_fields(model, 1e-11)
    except UserError as error:
        assert switch in ("feature_matching", "replay"), error


REFUSED = {
    "ragan": "value relativistic-average compares with the mean score of the batch",
    "coulomb-gan": "the potential of a Coulomb GAN is that of the batch",
    "dragan": "penalty dragan scales its noise by the deviation of the batch",
    "lgan": "penalty max-gradient takes the steepest slope of the batch",
    "ebgan": "pulling-away compares the codes of the batch",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_mixes_examples_is_refused_in_one_line(name):
    told = f"micro-batches 2: {REFUSED[name]}, and a micro-batch is only a part of it: use micro-batches 1"
    model = config_of(name, ())
    with pytest.raises(UserError, match=told):
        experiment_of(model, 2)
    assert experiment_of(model, 1)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (gan.Config("mlp", 4, minibatch="discrimination"), "minibatch discrimination compares with the other examples"),
        (gan.Config("mlp", 4, minibatch="deviation"), "minibatch deviation is that"),
        (gan.Config("mlp", 4, techniques=Techniques(feature_matching=1.0)), "feature-matching compares mean features"),
    ],
    ids=["discrimination", "deviation", "feature matching"],
)
def test_so_are_switches_that_do(model, told):
    with pytest.raises(UserError, match=f"{told} of the batch"):
        experiment_of(model, 2)


def test_so_are_few_labels():
    config = RunConfig(CONFIGS["acgan"]("mlp", 4), labels=6, batch_size=8, training=TrainingConfig(micro_batches=2))
    with pytest.raises(UserError, match="labels 6 weighs the labeled examples by their share of the batch"):
        assemble(config, SOURCE.spec)


def test_the_sign_of_adaptive_augmentation_is_that_of_the_whole_batch_not_the_mean_of_the_parts_signs(float64):
    """Of two parts, one below the target by little and one above it by much, p follows the whole."""
    experiment = experiment_of(gan.Config("mlp", 4, techniques=Techniques(augment="color", adaptive=0.25)))
    player = experiment.game["augmentation"]

    def moved(signs):
        """p after a step from 0.5, of gradients as the engine takes their mean."""
        slopes = {"augmentation": {"p": np.float64(np.mean([0.25 - np.mean(part) for part in signs]))}}
        params = {"augmentation": {"p": jnp.asarray(0.5)}}
        update, _ = player.tx.update(slopes, player.tx.init(params), params)
        return float(update["augmentation"]["p"])

    step = 8 / (1000 * 500)
    np.testing.assert_allclose(moved([[1, 1, 1, 1], [1, -1, 1, -1]]), step, rtol=1e-9)
    np.testing.assert_allclose(moved([[1, 1, 1, -1], [-1, -1, 1, -1]]), -step, rtol=1e-9)
    np.testing.assert_allclose(moved([[1, 1, 1, 1], [-1, 1, -1, 0]]), step, rtol=1e-9)  # signs of parts: 1 and -1


def test_batch_norms_are_ghosts_of_their_part_and_only_where_there_are_any():
    config = RunConfig(batch_size=128, training=TrainingConfig(micro_batches=4))
    normed = {"generator": {"batch_stats": {"BatchNorm_0": {}}}, "discriminator": {"spectral": {}}}
    assert ghost(config, normed) == "ghost batch norm of 32 of 128 examples"
    assert ghost(config, {"generator": {"spectral": {}}, "k": ()}) == ""
    assert ghost(RunConfig(batch_size=128), normed) == ""


def test_running_statistics_of_parts_are_means_and_lack_the_variance_between_them(float64):
    model = gan.Config("mlp", 4, hidden_sizes=(6,), generator_norm="batch", discriminator_norm="none")
    (_, whole), (_, parts) = field_of(model, 1), field_of(model, 4)
    norms = [tree["generator"]["batch_stats"]["BatchNorm_0"] for tree in (whole, parts)]
    np.testing.assert_allclose(norms[0]["mean"], norms[1]["mean"], rtol=0, atol=1e-12)
    assert (np.asarray(norms[0]["variance"]) > np.asarray(norms[1]["variance"]) + 1e-6).all()
