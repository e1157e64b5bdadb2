"""Plans: what follows from what, what would fit, and a run that is stopped before it has too little memory."""

import types
import warnings

import jax
import pytest

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import Caution, UserError
from vaegan_jax.models import CONFIGS
from vaegan_jax.planning import changes, roofline
from vaegan_jax.planning.changes import Planner, alternatives, fitting
from vaegan_jax.planning.chips import CHIPS, GIB, chip, known
from vaegan_jax.planning.plan import check_fits, plan, split_sizes
from vaegan_jax.planning.telling import facts, lines, table
from vaegan_jax.planning.tracing import trace
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import assemble

COLOR = DataSpec("made up", (8, 8, 3), 4)
TRACES: dict = {}
"""One trace of each variant serves all tests of this file, whatever the chip, the batch and the devices are."""


@pytest.fixture(scope="module", autouse=True)
def _traces_dropped():
    yield
    TRACES.clear()


def config(devices=4, **fields):
    model = CONFIGS["sngan"]("resnet", 3, width=32, discriminator_moves=1, precision="bfloat16")
    return RunConfig(model, batch_size=256, devices=devices, training=TrainingConfig(rounds_per_dispatch=2), **fields)


def planner_of(utilization=0.5, **fields):
    """A planner for a chip like no other."""
    return Planner(COLOR, CHIPS["tpu-v4"]._replace(**fields), utilization, TRACES)


@pytest.fixture
def planner():
    return planner_of()


def test_every_chip_has_all_its_numbers_and_their_source():
    assert list(CHIPS) == ["tpu-v3", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e", "a100", "h100", "h200"]
    for name, each in CHIPS.items():
        assert each.name == name and each.source and each.unit and chip(name.upper()) == each
        assert 1e13 < each.float32 <= each.bfloat16 < 1e16 and 4e11 < each.bandwidth < 1e13
        assert 10 * GIB < each.memory < 200 * GIB and each.reach(8) >= each.reach(9) > 0
        assert all(known(kind + " of some make") == each for kind in each.kinds)
    assert known("Radeon") is None and known("TPU v5 lite").name == "tpu-v5e" and known("TPU v5").name == "tpu-v5p"
    with pytest.raises(UserError, match="unknown chip 'h1000'. Did you mean 'h100'"):
        chip("h1000")


def test_devices_share_the_batch_and_the_split_states_but_not_the_work_of_a_round(planner):
    few, many = planner(config(4)), planner(config(8))
    assert many.parameters == few.parameters and many.images == few.images == 256
    # What depends on parameters alone, spectral norms, every device does for itself.
    assert few.flops.products <= many.flops.products < 1.1 * few.flops.products
    assert many.memory.batch == few.memory.batch // 2 and many.memory.parameters == few.memory.parameters
    assert many.memory.activations < 0.8 * few.memory.activations
    assert many.seconds.arithmetic + many.seconds.traffic < few.seconds.arithmetic + few.seconds.traffic
    parts, all_parts = (planner(config(4, shard=kind)).memory for kind in ("optimizer", "all"))
    assert parts.optimizers < few.memory.optimizers and parts.averages < few.memory.averages
    assert parts.parameters == few.memory.parameters > all_parts.parameters
    assert few.memory.parameters // 2 < all_parts.whole < few.memory.parameters  # which a round needs all the same
    assert sum(few.memory) == few.memory.total == few.memory.state + few.memory.activations


def test_a_batch_is_what_two_dispatches_send_to_a_device(planner):
    # 2 rounds each of 2 moves of 64 examples: an image, a position and a label each.
    assert planner(config(4)).memory.batch == 2 * 2 * 2 * 64 * (8 * 8 * 3 + 4 + 4)


def test_what_is_split_is_reduced_and_scattered_by_each_move_and_gathered(planner):
    """A ring of 4: of split leaves a move scatters 3/4 of its gradient, and gathers 3/4 of what it has updated; with
    "all" the last move's generator is not gathered, but all networks are at the beginning."""
    made = {kind: planner(config(4, shard=kind)) for kind in ("none", "optimizer", "all")}
    none, optimizer, everything = (made[kind].sent for kind in made)
    split = split_sizes(trace(config(4), COLOR, "tpu", 4).state, 4)
    moved = split["discriminator"] + split["generator"]
    assert made["all"].memory.whole == moved and none.gathered == 0
    assert none.gradients - optimizer.gradients == pytest.approx(3 / 4 * moved)
    assert optimizer.gathered == pytest.approx(3 / 4 * moved)
    assert everything.gathered == pytest.approx(3 / 4 * (moved + split["discriminator"]))
    assert everything.gradients == optimizer.gradients


def test_a_roofline_is_as_fast_as_the_chip(planner):
    slow = planner(config())
    fast = planner_of(1.0, bandwidth=1e30, bfloat16=1e12, float32=1e12)(config())
    assert fast.seconds.traffic < 1e-12 < slow.seconds.traffic
    assert fast.seconds.arithmetic == pytest.approx(fast.flops.products / 4 / 1e12, rel=1e-3)
    assert fast.limit == "compute" and slow.limit == "memory bandwidth"
    linked = planner_of(1.0, links=1e3)(config())
    assert linked.limit == "interconnect" and linked.seconds.total == linked.seconds.links
    assert roofline.Seconds(5.0, 4.0, 6.0).limit == "compute"  # messages of 6 s are hidden behind 9


@pytest.mark.slow
def test_alternatives_are_one_change_each_and_what_fits_fits(planner, monkeypatch):
    monkeypatch.setattr(changes, "MOST_PARTS", 2)
    asked, others = planner(config()), alternatives(planner, config())
    names = ["as asked", "rematerialize True", "micro-batches 2", "shard optimizer", "shard all"]
    assert [change.told for change in others] == names and others[0].plan == asked
    assert all(other.plan.memory.activations < asked.memory.activations for other in others[1:3])
    assert others[1].plan.flops.products > 1.05 * asked.flops.products
    tight = planner_of(memory=int(asked.memory.state + 0.95 * asked.memory.activations))
    found = fitting(tight, config())
    assert found and all(change.plan.fits for change in found) and not tight(config()).fits
    assert found[-1].told == "devices 8" and tight(config()).limit == "memory"
    assert fitting(planner_of(memory=1000), config()) == []
    told = "\n".join([*lines(asked, 0.5, 10**6), *table(others)])
    assert "micro-batches 2" in told and "days for 3,906 rounds" in told
    assert facts(asked, None)["memory"]["total"] == asked.memory.total


def devices(limit, kind="NVIDIA H100 80GB HBM3"):
    """Four made up devices of this process."""
    told = {"platform": "gpu", "device_kind": kind, "process_index": 0, "memory_stats": lambda: {"bytes_limit": limit}}
    return [types.SimpleNamespace(**told)] * 4


def test_a_run_without_enough_memory_is_refused_or_warned_of_before_it_begins():
    small = RunConfig(CONFIGS["gan"]("mlp", 3, hidden_sizes=(8,)), batch_size=64, devices=4)
    experiment, traced = assemble(small, COLOR), trace(small, COLOR, "gpu", 4)
    made = plan(small, COLOR, CHIPS["h100"], traced=traced)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_fits(experiment, devices(made.memory.total))
        check_fits(experiment, jax.devices())  # these tell nothing
    with pytest.warns(Caution, match="this may need too much memory: .* within 30%"):
        check_fits(experiment, devices(made.memory.total - 1))
    least = int(made.memory.state + 0.7 * made.memory.activations)
    with pytest.warns(Caution):
        check_fits(experiment, devices(least + 1))
    with pytest.raises(UserError, match="too little memory: .* GiB predicted, .* of them activations, .* at least"):
        check_fits(experiment, devices(least - 1))
    with pytest.raises(UserError, match="too little memory: before a round begins .* GiB .* each of 4 devices"):
        check_fits(experiment, devices(made.memory.state - 1, "Radeon"))
    data, others = 10**9, made.memory.total - made.memory.batch
    check_fits(experiment, devices(others + data), data)
    with pytest.warns(Caution, match="data that live there 0.9.*each of 4 .*has 0.9 GiB; --training.feeding str"):
        check_fits(experiment, devices(others + data - 1), data)
    with pytest.raises(UserError, match="before a round begins 0.9 GiB are taken .*data that live there 0.9"):
        check_fits(experiment, devices(data // 2), data)


@pytest.mark.slow
def test_the_papers_biggan_has_its_parameters_and_its_operations():
    """70.4 M and 88.0 M (Brock et al. 2018, appendix B); a product's two gradients are as much again each."""
    asked = RunConfig(CONFIGS["biggan"](), batch_size=2048, devices=128)
    made = plan(asked, DataSpec("ImageNet", (128, 128, 3), 1000), CHIPS["tpu-v3"])
    assert made.parameters == {"generator": 70_433_988, "discriminator": 87_982_370}
    assert made.memory.parameters == 4 * sum(made.parameters.values())
    assert made.memory.optimizers == 2 * made.memory.parameters + 4 * 2  # means, squares, and two counts
    assert made.memory.averages == 4 * made.parameters["generator"]
    assert made.images == 2 * 2048 and made.fits
    moves = 2 * made.parameters["discriminator"] + made.parameters["generator"]
    assert made.sent.gradients == pytest.approx(2 * 127 / 128 * 4 * moves)
    assert 4 < made.flops.products / 2048 / 60e9 < 6
