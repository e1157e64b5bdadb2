"""Large batches on many devices: what is split over them, what is told, what is refused, of small GANs."""

import dataclasses
import functools
import json
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import done, ended, refused, start
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec
from runs import facts
from scaling import SOURCE, batch_of, biggan, experiment_of, filled, widened

from vaegan_jax.errors import UserError
from vaegan_jax.games import State
from vaegan_jax.models import gan
from vaegan_jax.training import parallel
from vaegan_jax.training.beginning import first_state, state_shapes
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import PLAY, step_of
from vaegan_jax.training.parallel import layout, lifted, mesh_of

MLP = gan.Config("mlp", latent_size=4, hidden_sizes=(16,), generator_norm="batch")
SHARDS = ["optimizer", "all"]


def played(experiment, rounds, devices, state=None):
    """The state after some rounds, in the widest type, and what it was placed as."""
    lift = lifted(experiment.config, step_of(experiment), jax.devices()[:devices])
    state = lift.place(widened(first_state(experiment)) if state is None else state)
    store, key = (lift.place(tree) for tree in (batch_of(experiment)[1], experiment.key(PLAY)))
    placed = state
    for round in range(rounds):
        batch = {name: leaf[None] for name, leaf in batch_of(experiment, round)[0].items()}
        state, _ = lift.step(state, batch, np.int32(1), key, store)
    return jax.tree.map(np.asarray, lift.collect(state)), placed, state


def assert_near(left, right, tolerance=1e-9):
    """Every leaf within the tolerance, times the largest entry of any network."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    largest = max(abs(leaf).max() for leaf in jax.tree.leaves(right.params))
    assert np.isfinite(largest)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


def test_a_leaf_is_split_along_its_largest_axis_that_the_devices_divide_if_it_is_large():
    sizes = {"kernel": (3, 3, 64, 128), "square": (64, 64), "tall": (4096, 3), "odd": (81, 81), "small": (16, 128)}
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in sizes.items()}
    parts = [{"network": tree}] * 4
    state = State(jax.ShapeDtypeStruct((), jnp.int32), *parts, averages={"network": tree})
    mesh = AbstractMesh((8,), ("devices",))
    wanted = {"kernel": (None, None, None, "devices"), "square": (None, "devices"), "tall": ("devices",)}
    for shard, split in (("none", set()), ("optimizer", {"opt", "solver", "averages"}), ("all", {"params"})):
        split |= {"opt", "solver", "averages"} if shard == "all" else set()
        found = layout(state, mesh, shard)
        for part in State._fields[1:]:
            for name, sharding in getattr(found, part)["network"].items():
                expected = wanted.get(name, ()) if part in split else ()
                assert sharding == NamedSharding(mesh, PartitionSpec(*expected)), (shard, part, name)
        assert found.step == NamedSharding(mesh, PartitionSpec())


@pytest.mark.parametrize("shard", SHARDS)
def test_a_device_holds_its_part_only(shard, monkeypatch):
    monkeypatch.setattr(parallel, "SPLIT_FROM", 64)
    experiment = experiment_of(biggan(), shard=shard)
    state = filled(state_shapes(experiment))
    placed = lifted(experiment.config, step_of(experiment), jax.devices()[:4]).place(state)
    for part in ("params", "stats", "opt", "averages"):
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(getattr(state, part)))
        held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(getattr(placed, part)))
        split = part != "stats" and (part != "params" or shard == "all")
        assert held < 0.4 * whole if split else held == whole, part  # biases are small


@pytest.mark.parametrize("shard", [pytest.param("optimizer", marks=pytest.mark.slow), "all"])
def test_a_split_state_follows_the_trajectory_of_one_device_and_gives_its_buffers_away(
    shard, float64, monkeypatch, this_compiled_quickly
):
    monkeypatch.setattr(parallel, "SPLIT_FROM", 16)
    experiment = experiment_of(MLP, shard=shard)
    alone = experiment._replace(config=dataclasses.replace(experiment.config, shard="none"))
    expected, _, _ = played(alone, 20, 1)
    found, placed, last = played(experiment, 20, 4)
    assert_near(found, expected)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(placed))
    mesh = mesh_of(jax.devices()[:4])
    for leaf, where in zip(jax.tree.leaves(last), jax.tree.leaves(layout(last, mesh, shard)), strict=True):
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim)


def test_what_is_split_is_made_split_and_gathered_on_the_host(monkeypatch):
    """A device may be too small for all of it."""
    monkeypatch.setattr(parallel, "SPLIT_FROM", 16)
    experiment = experiment_of(MLP, shard="optimizer")
    made = first_state(experiment)
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(made))
    assert len(jax.local_devices()) == 4 and held < 0.4 * sum(leaf.nbytes for leaf in jax.tree.leaves(made))
    lift = lifted(experiment.config, step_of(experiment), jax.devices()[:4])
    placed = lift.place(jax.tree.map(np.asarray, made))
    split = [not leaf.is_fully_replicated for leaf in jax.tree.leaves(placed)]
    collected = jax.tree.leaves(lift.collect(placed))
    assert [isinstance(leaf, np.ndarray) for leaf in collected] == split and any(split)
    alone = first_state(experiment._replace(config=dataclasses.replace(experiment.config, shard="none")))
    for leaf, same, whole in zip(collected, jax.tree.leaves(made), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(leaf, same)
        np.testing.assert_allclose(leaf, whole, rtol=1e-6)


@pytest.mark.parametrize("over", [1, 2])
def test_so_does_one_that_is_split_over_some_devices_and_copied_to_the_others(
    over, float64, monkeypatch, this_compiled_quickly
):
    monkeypatch.setattr(parallel, "SPLIT_FROM", 16)
    experiment = experiment_of(MLP, shard="all", shard_over=over)
    alone = experiment._replace(config=dataclasses.replace(experiment.config, shard="none", shard_over=0))
    found, _, last = played(experiment, 20, 4)
    assert_near(found, played(alone, 20, 1)[0])
    parts = [{str(shard.index) for shard in leaf.addressable_shards} for leaf in jax.tree.leaves(last.opt)]
    assert max(map(len, parts)) == over


def test_devices_that_do_not_come_in_such_groups_are_refused():
    for fields, told in (
        ({"devices": 4, "shard": "all", "shard_over": 3}, r"must be 0 \(all\) or a divisor of 4 devices, not 3"),
        ({"shard": "all", "shard_over": -1}, r"must be 0 \(all\) or a divisor of the devices, not -1"),
        ({"devices": 4, "shard_over": 2}, "shard-over 2 is of a split state, and shard none splits nothing"),
    ):
        with pytest.raises(UserError, match=told):
            RunConfig(**fields)
    with pytest.raises(UserError, match="shard-over 3 does not divide the number of devices, 4"):
        parallel.choose_devices(RunConfig(shard="all", shard_over=3))


@functools.cache
def biggan_alone():
    """Where a BigGAN begins, on the host, as the loop has it, and where it is after 20 rounds on one device."""
    alone = experiment_of(biggan())
    state = jax.tree.map(np.asarray, widened(first_state(alone)))
    return state, played(alone, 20, 1, state)[0]


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.soak)])
@pytest.mark.parametrize("shard", SHARDS)
def test_so_does_a_biggan(shard, devices, float64, monkeypatch, this_compiled_quickly):
    monkeypatch.setattr(parallel, "SPLIT_FROM", 64)
    state, expected = biggan_alone()
    assert_near(played(experiment_of(biggan(), shard=shard), 20, devices, state)[0], expected)


def test_what_cannot_be_split_is_refused():
    with pytest.raises(UserError, match="shard all is for parallel sharded: with pmapped every device has all"):
        RunConfig(shard="all", parallel="pmapped")


@pytest.mark.slow
@pytest.mark.parametrize("model", [biggan(precision="bfloat16", rematerialize=True)], ids=["biggan"])
def test_rounds_on_a_mesh_of_eight_are_lowered_for_tpus_and_gpus_by_a_machine_without(model, monkeypatch):
    """Two rounds a dispatch in bfloat16, rematerialized and split over 4 devices twice, for their compilers, that is:
    lowering runs neither the partitioner, which decides what is sent between devices, nor a check of memory."""
    monkeypatch.setattr(parallel, "SPLIT_FROM", 64)
    experiment = experiment_of(model, shard="all")
    state, (indices, store) = state_shapes(experiment), batch_of(experiment)
    batch = {name: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype) for name, leaf in indices.items()}
    mesh = AbstractMesh((2, 4), ("copies", "devices"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    where, same = layout(state, mesh, "all"), NamedSharding(mesh, PartitionSpec())
    assert sum(not place.is_fully_replicated for place in jax.tree.leaves(where)) > 20
    split = NamedSharding(mesh, PartitionSpec(None, None, None, ("copies", "devices")))
    step = parallel.rounds(parallel.split_between(step_of(experiment), mesh, "all"), 2)
    step = jax.jit(step, in_shardings=(where, split, same, same, same), out_shardings=(where, same))
    key = jax.eval_shape(lambda: experiment.key(PLAY))
    given = (state, batch, jax.ShapeDtypeStruct((), jnp.int32), key, store)
    lowered = jax.export.export(step, platforms=("tpu", "cuda"))(*given)
    assert lowered.platforms == ("tpu", "cuda") and lowered.nr_devices == 8
    assert "bf16" in lowered.mlir_module()


# Runs


GAN = ["gan", "--model.network", "mlp", "--model.hidden-sizes", "8", "--model.latent-size", "2"]
NORMED = [*GAN, "--model.generator-norm", "batch"]
RUN = ["--batch-size", "8", "--training.sample-count", "4", "--steps", "6", "--watch-every", "0"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, image=np.asarray(SOURCE.arrays["image"])[:, :4, :4])
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_ghost_batch_norms_are_named_wherever_a_run_tells_of_itself(images, tmp_path, this_compiled_quickly):
    run, named = tmp_path / "run", "ghost batch norm of 4 of 8 examples"
    told = done("train", *NORMED, *RUN, "--devices", 1, "--data", images, "--run", run, "--training.micro-batches", 2)
    assert f"2 micro-batches: {named}" in " ".join(told.split())
    assert json.loads((run / "config.json").read_text())["batch_norm"] == facts(run)["batch_norm"] == named
    assert f"batch norm  {named}\n" in done("inspect", run)
    sampled = json.loads((run / "summary.json").read_text())["sampled_with"]
    assert sampled.endswith(f", trained with {named}")
    assert re.search(f"trained with {named}", done("sample", run, "--count", 4, "--output", tmp_path / "images.npz"))


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_a_run_goes_on_on_other_devices_split_otherwise(images, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "SPLIT_FROM", 16)
    with jax.enable_x64(True):
        words = ["train", *NORMED, *RUN, "--data", images]
        done(*words, "--devices", 1, "--run", tmp_path / "whole")
        run = tmp_path / "run"
        done(*words, "--devices", 1, "--run", run, "--steps", 2)
        done("resume", run, "--devices", 2, "--shard", "all", "--steps", 3)
        done("resume", run, "--devices", 4, "--shard", "optimizer", "--steps", 4)
        done("resume", run, "--shard", "none", "--parallel", "pmapped", "--steps", 6)
    kept = facts(run)["config"]
    assert (kept["devices"], kept["shard"], kept["parallel"]) == (4, "none", "pmapped")
    assert "is for parallel sharded" in refused("resume", run, "--shard", "all", "--steps", 9)
    assert facts(run)["step"] == facts(tmp_path / "whole")["step"] == 6


@pytest.mark.slow
def test_what_one_process_has_compiled_the_next_one_finds(images, tmp_path):
    """In the folder that JAX_COMPILATION_CACHE_DIR names: nothing that takes long is compiled twice."""
    cache = tmp_path / "compiled"
    found = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    programs = []
    for run in ("first", "second"):
        words = ["train", *NORMED, *RUN, "--devices", 2, "--shard", "all", "--data", images, "--run", tmp_path / run]
        assert ended(start(*words, environment=found)).code == 0
        programs.append({path.name for path in cache.iterdir() if "atime" not in path.name})
    assert programs[0] == programs[1] and len(programs[0]) > 3
