"""Every model with every switch that makes sense is a game that traces; the others are refused with a reason."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from switches import NAMES, REFUSED, SETTINGS, SPEC, SWITCHES, config_of, exclusive, sensible, switched, together

from vaegan_jax.dynamics.solvers import SOLVERS, Solver, solve
from vaegan_jax.errors import UserError
from vaegan_jax.games import init
from vaegan_jax.models import CONFIGS, MODELS, name_of
from vaegan_jax.models.techniques import Techniques
from vaegan_jax.networks.network import init_networks
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import assemble

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def check_round(config, spec=SPEC, solver="gradient"):
    model = MODELS[name_of(config)]
    solved = solve(Solver(solver, **FEW.get(solver, {})), model.game(config, spec), model.schedule(config))
    params, stats = jax.eval_shape(lambda key: init_networks(model.networks(config, spec), key), jax.random.key(0))
    state = jax.eval_shape(lambda params, stats: solved.start(init(solved.game, params, stats)), params, stats)
    shape = (len(solved.schedule), 1, 4)
    batch = {"position": jnp.zeros(shape, int), "label": jnp.zeros(shape, int)}
    batch["image"] = jnp.zeros((*shape, *spec.image_shape))
    after, metrics = jax.eval_shape(solved.round, state, batch, jax.random.key(0))
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert shapes(after) == shapes(state)
    assert {name.split("/")[0] for name in metrics} >= set(players := model.game(config, spec))
    return players


QUICK = {"gan", "wgan-gp", "cgan", "infogan", "began"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in NAMES])
def test_a_model_with_all_switches_that_make_sense_traces(name):
    """All at once, but for what excludes another: each again in the soak test."""
    check_round(config_of(name, together(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_model_with_the_switches_that_exclude_each_other_traces(name):
    """So that those of the test above and these are all of them."""
    apart = exclusive(name)
    for switches in apart:
        check_round(config_of(name, switches))
    assert set(sensible(name)) <= {*together(name), *itertools.chain(*apart)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["biggan", "biggan-deep"])
def test_a_biggan_with_all_techniques_for_few_data_traces(name):
    """DiffAugment with ADA, consistency, LeCam, the penalty on correlated filters; in bfloat16 and rematerialized."""
    tricks = {"augment": "all", "adaptive": 0.6, "consistency": 10.0, "lecam": 0.3, "orthogonality": 1e-4}
    fields = {"width": 4, "latent_size": 8, "shared_size": 4, "precision": "bfloat16", "rematerialize": True}
    config = CONFIGS[name](**fields, techniques=Techniques(**tricks))
    assert {"generator", "discriminator", "augmentation", "anchors"} == set(
        check_round(config, dataclasses.replace(SPEC, image_shape=(32, 32, 3)))
    )


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_model_with_each_switch_that_makes_sense_traces(name):
    for switch in sensible(name):
        check_round(config_of(name, [switch]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_model_with_its_own_networks_and_all_switches_traces(name):
    """Convolutions with batch norms, spectral norm, attention, and classes in norms: on images of 16 x 16 pixels."""
    spec = dataclasses.replace(SPEC, image_shape=(16, 16, 1))
    switches = [switch for switch in together(name) if "penalty" not in switch and switch != "discriminator_moves"]
    check_round(switched(name, {"width": 8, "latent_size": 5, "discriminator_moves": 1}, switches), spec)


FEW = {name: {"iterations": 2} for name in ("proximal", "competitive")}
FEW |= {"follow-the-ridge": {"damping": 1.0, "iterations": 2}, "unrolled": {"inner_steps": 2}}
ALL = [(name, solver) for name in NAMES for solver in SOLVERS]
SOME = [(NAMES[place % len(NAMES)], solver) for place, solver in enumerate(SOLVERS)]


@pytest.mark.parametrize(
    ("name", "solver"),
    [pytest.param(*pair, marks=pytest.mark.slow if pair in SOME else pytest.mark.soak) for pair in ALL],
)
def test_a_model_is_played_by_every_solver_or_told_why_not(name, solver):
    """Each solver with some model as slow tests, all with all as soak ones."""
    try:
        check_round(config_of(name, []), solver=solver)
    except (UserError, ValueError) as refused:
        assert name == "began" and "needs two players, and here 3 move" in str(refused)


@pytest.mark.parametrize(("name", "switch"), REFUSED, ids=map(" ".join, REFUSED))
def test_what_makes_no_sense_is_refused_with_its_reason_in_one_line(name, switch, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((UserError, ValueError), match=REFUSED[name, switch]) as refused:
        MODELS[name].game(config_of(name, [switch]), SPEC)
    assert "\n" not in str(refused.value)


def test_every_trick_is_a_switch_of_this_table():
    assert {field.name for field in dataclasses.fields(Techniques)} == set(SWITCHES) | SETTINGS


WRONG = {
    "a penalty under batch norm": (
        {"network": "dcgan", "penalty": "gradient"},
        "penalty gradient penalizes the discriminator's slope at single images, but with batch norm .* without batch",
    ),
    "a penalty under a minibatch layer": (
        {"penalty": "r2", "minibatch": "deviation"},
        "penalty r2 is of single images, and minibatch deviation mixes them: choose one",
    ),
    "the logits' penalty of other scores": (
        {"penalty": "jensen-shannon", "value": "hinge"},
        "jensen-shannon penalty is of logits, and the scores of hinge are none",
    ),
    "attention in a dense network": ({"attention": 4}, "attention is for maps, and the mlp network has none"),
    "attention where there is no map": (
        {"network": "dcgan", "width": 8, "attention": 5},
        "attention at 5 pixels, but the maps here have 8, 4",
    ),
    "instance norm in a dense network": ({"generator_norm": "instance"}, "instance norm is for maps"),
    "classes in norms that have no gain": (
        {"network": "dcgan", "condition": "projection", "condition_place": "norm", "generator_norm": "pixel"},
        "a condition needs a norm whose gain it sets, batch, instance or layer, not pixel",
    ),
    "classes in the norms of a dense network": (
        {"condition": "projection", "condition_place": "norm"},
        "condition-place norm is for convolutional networks: with mlp choose input",
    ),
    "another network's way up": ({"up": "shuffle"}, "up and down are for the dcgan network; mlp has its own ways"),
    "smoothing where no target is": ({"value": "hinge", "label_smoothing": 0.1}, "label-smoothing moves the target of"),
    "augmentation that nothing sets off": (
        {"techniques": {"adaptive": 0.6}},
        "adaptive augments nothing without --model.techniques.augment",
    ),
    "a decay of no noise": ({"techniques": {"instance_noise_kimg": 1.0}}, "decay of a noise that there is not"),
    "a generator with nothing to pay": ({"techniques": {"adversarial_weight": 0.0}}, "nothing to minimize"),
    "a generator that pays for the distance of neighbors alone, which has no end": (
        {"techniques": {"adversarial_weight": 0.0, "latent_diversity": 1.0}},
        "nothing to minimize",
    ),
    "neighbors at no distance": (
        {"techniques": {"latent_consistency": 5.0, "latent_deviation": 0.0}},
        "set latent-deviation above 0",
    ),
    "a decay of no averages": ({"techniques": {"lecam_decay": 0.9}}, "lecam-decay is of averages that there are not"),
    "a pool beyond all memory": ({"techniques": {"replay": 10**12}}, "replay must be at most 1,000,000 images"),
    "an interval of no penalty": ({"penalty_interval": 16}, "of a penalty that there is not: set penalty"),
    "a weight of no penalty": ({"penalty_weight": 3.0}, "of a penalty that there is not: set penalty"),
    "labels that are mostly wrong": ({"techniques": {"noisy_labels": 0.6}}, r"noisy-labels must be in \[0, 0.5\]"),
    "a negative weight": ({"techniques": {"lecam": -1.0}}, "lecam must be 0 or more and finite, not -1.0"),
    "a policy that there is not": ({"techniques": {"augment": "colour"}}, "unknown augment 'colour'. Did you mean"),
    "a pool of less than half a batch": (
        {"techniques": {"replay": 1}},
        "replay 1 is less than half a batch",
    ),
}


@pytest.mark.parametrize(("fields", "told"), WRONG.values(), ids=WRONG)
def test_combinations_that_make_no_sense_are_refused_in_one_line(fields, told, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises((UserError, ValueError), match=told) as refused:
        tricks = Techniques(**fields.get("techniques", {}))
        own = {"network": "mlp", "hidden_sizes": (5,), "width": 2} | fields | {"techniques": tricks}
        MODELS["gan"].game(CONFIGS["gan"](**own), dataclasses.replace(SPEC, image_shape=(16, 16, 1)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "fields", "tricks"),
    [
        ("gan", {}, {"autoencoding": 1.0}),
        ("gan", {}, {"reverse_kl": 1.0}),
        ("acgan", {}, {}),
        ("infogan", {}, {}),
    ],
    ids=str,
)
def test_a_generator_may_pay_for_other_things_than_the_game(name, fields, tricks):
    config = config_of(name, [])
    check_round(dataclasses.replace(config, **fields, techniques=Techniques(adversarial_weight=0.0, **tricks)))
    with pytest.raises(UserError, match="nothing to minimize"):
        dataclasses.replace(config_of("gan", []), techniques=Techniques(adversarial_weight=0.0))


@pytest.mark.parametrize(
    ("name", "fields"), [("ebgan", {}), ("gan", {"minibatch": "deviation"}), ("gan", {"minibatch": "discrimination"})]
)
def test_what_compares_images_is_refused_in_batches_of_one(name, fields, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    config = dataclasses.replace(config_of(name, []), **fields)
    with pytest.raises(UserError, match="compares .* make batch-size 2 at least"):
        assemble(RunConfig(config, batch_size=1), SPEC)
    assemble(RunConfig(config, batch_size=2), SPEC)


def test_infogan_may_be_penalized_although_its_recognition_has_batch_norm():
    check_round(config_of("infogan", ["penalty"]))


@pytest.mark.parametrize("run", [{"parallel": "pmapped"}, {"training": TrainingConfig(micro_batches=2)}], ids=str)
def test_a_pool_of_images_is_refused_before_anything_is_compiled_where_it_cannot_be(run):
    model = config_of("gan", ["replay"])
    with pytest.raises(UserError, match="replay's pool is one for all devices and moves: use --parallel sharded"):
        assemble(RunConfig(model, batch_size=4, **run), SPEC)
    assemble(RunConfig(model, batch_size=4), SPEC)
