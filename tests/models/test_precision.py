"""bfloat16: which operations of a round are in it, which are not, and that the networks compute nearly the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scaling import PIXELS, SOURCE, batch_of, biggan, equations, experiment_of, filled

from vaegan_jax.losses.penalties import squared_slopes
from vaegan_jax.models import gan
from vaegan_jax.training.beginning import first_state, state_shapes
from vaegan_jax.training.experiment import PLAY, step_of

EXACT = {"exp", "log", "logistic", "rsqrt", "sqrt", "tanh", "cumsum"}
MLP = gan.Config("mlp", 4, hidden_sizes=(32, 32), spectral="both", penalty="r1", precision="bfloat16")


def program(experiment):
    """The equations of a round, and its state before and after, in shapes."""
    indices, store = batch_of(experiment)
    state = state_shapes(experiment)
    made, shapes = jax.make_jaxpr(step_of(experiment), return_shape=True)(state, indices, experiment.key(PLAY), store)
    return list(equations(made.jaxpr)), state, shapes[0]


def test_products_are_in_bfloat16_and_what_needs_float32_is_in_float32():
    steps, before, after = program(experiment_of(biggan(precision="bfloat16")))
    kinds = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), tree)  # noqa: E731
    assert kinds(before) == kinds(after)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(after)} == {"float32", "int32"}
    products = 0
    for step in steps:
        name, types = step.primitive.name, {value.aval.dtype.name for value in step.invars}
        shapes = [value.aval.shape for value in step.invars]
        if name == "conv_general_dilated":
            assert types == {"bfloat16"}
        elif name == "dot_general" and types & {"bfloat16", "float32"}:
            products += types == {"bfloat16"}
            # Of spectral norms, of gains and shifts, and of the logits: none with pixels.
            assert types == {"bfloat16"} or types == {"float32"} and max(map(len, shapes)) <= 2
            assert set(shapes) != {(8, 2), (2, 128)} or types == {"bfloat16"}  # the dense map
        elif name == "reduce_sum" and types == {"bfloat16"}:  # of what was doubled, four by four
            assert np.prod(shapes[0]) <= 4 * np.prod(step.outvars[0].aval.shape)
        elif name in EXACT:
            assert "bfloat16" not in types, name
    assert products > 40


@pytest.mark.slow
@pytest.mark.parametrize("network", ["dcgan", "sndcgan", "resnet"])
def test_other_networks_have_no_convolution_in_float32_either(network):
    model = gan.Config(network, 4, width=2, spectral="both", precision="bfloat16")
    steps, _, _ = program(experiment_of(model))
    types = [{value.aval.dtype.name for value in step.invars} for step in steps if "conv" in step.primitive.name[:4]]
    convolutions = [kinds for kinds in types if len(kinds) == 1]
    assert {"bfloat16"} in convolutions
    products = [step for step in steps if step.primitive.name == "conv_general_dilated"]
    assert all(value.aval.dtype == jnp.bfloat16 for step in products for value in step.invars)


def networks_of(model):
    """Networks of a model, and parameters and stats that fit either precision."""
    made = gan.networks(model, SOURCE.spec)
    variables = {name: network.init(jax.random.key(0)) for name, network in made.items()}
    return made, variables


def judged(model, variables, images, told):
    params, stats = variables["discriminator"]
    network = gan.networks(model, SOURCE.spec)["discriminator"]

    def score(images):
        return network.apply(params, stats, images, *told)[0].score

    return jax.jit(lambda images: (score(images), squared_slopes(score, images)))(images)


IMAGES = jnp.asarray(PIXELS[:8] / 127.5 - 1, jnp.float32)


def check_near(narrow, wide, told, tolerance):
    _, variables = networks_of(wide)
    for found, expected in zip(
        judged(narrow, variables, IMAGES, told), judged(wide, variables, IMAGES, told), strict=True
    ):
        assert found.dtype == expected.dtype == jnp.float32
        apart = np.abs(found - expected).mean() / np.abs(expected).mean()
        assert 0 < apart < tolerance  # for a slope the kinks count that rounding has crossed


def test_scores_and_slopes_are_nearly_those_of_float32_and_are_told_in_it(this_compiled_quickly):
    check_near(MLP, gan.Config("mlp", 4, hidden_sizes=(32, 32), spectral="both"), (), 0.04)


@pytest.mark.slow
def test_so_are_those_of_a_biggan():
    check_near(biggan(precision="bfloat16"), biggan(), (jax.nn.one_hot(jnp.arange(8) % 3, 3),), 0.04)


def rounds_of(model):
    experiment = experiment_of(model)
    step, state = jax.jit(step_of(experiment)), first_state(experiment)
    for round in range(3):
        indices, store = batch_of(experiment, round)
        state, metrics = step(state, indices, experiment.key(PLAY), store)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))


@pytest.mark.slow
def test_rounds_with_a_penalty_stay_finite(this_compiled_quickly):
    rounds_of(MLP)


@pytest.mark.slow
def test_rounds_of_a_biggan_stay_finite():
    rounds_of(biggan(precision="bfloat16", rematerialize=True))


def test_nothing_is_cast_in_float32():
    """A float64 test is one then."""
    with jax.enable_x64(True):
        made = gan.networks(gan.Config("mlp", 4, hidden_sizes=(8,)), SOURCE.spec)["generator"]
        params, stats = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float64), jax.eval_shape(made.init, jax.random.key(0))
        )
        output, _ = jax.eval_shape(made.apply, params, stats, jax.ShapeDtypeStruct((2, 4), jnp.float64))
        assert output.dtype == jnp.float64


def test_noise_of_the_generator_is_drawn_in_float32():
    model = gan.Config(
        "mlp", 4, hidden_sizes=(8,), precision="bfloat16", techniques=gan.Techniques(generator_noise=0.1)
    )
    made = gan.networks(model, SOURCE.spec)["generator"]
    params, stats = filled(jax.eval_shape(made.init, jax.random.key(0)))
    keys = jax.random.split(jax.random.key(0), 2)
    apply = lambda params, z: made.apply(params, stats, z, keys=keys, train=True)[0]  # noqa: E731
    traced = jax.make_jaxpr(apply)(params, jnp.ones((2, 4)))
    drawn = [step for step in equations(traced.jaxpr) if step.primitive.name == "erf_inv"]
    assert drawn and all(step.invars[0].aval.dtype == jnp.float32 for step in drawn)
