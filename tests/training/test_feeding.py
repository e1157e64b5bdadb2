"""A run's bits do not depend on where its data live, nor on how many rounds go to the device at once."""

import functools
import io
import sys

import jax
import numpy as np
import pytest
from rich.console import Console

from vaegan_jax.data import ArraySource
from vaegan_jax.data.batches import fetch
from vaegan_jax.models import vae
from vaegan_jax.training import feeding
from vaegan_jax.training.checkpoint import Checkpoints
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import assemble
from vaegan_jax.training.feeding import feeder
from vaegan_jax.training.loop import train

ROUNDS = 20
SOURCE = ArraySource(
    {
        "image": np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), dtype=np.uint8),
        "label": np.arange(50) % 3,
    }
)


def config_of(rounds_per_dispatch=4, model=None, feeding="auto"):
    training = TrainingConfig(
        feeding=feeding,
        rounds_per_dispatch=rounds_per_dispatch,
        log_interval_steps=ROUNDS,
        sample_interval_steps=0,
        sample_count=1,
        checkpoint_interval_steps=0,
    )
    small = vae.Config(hidden_sizes=(6,), latent_size=2)
    return RunConfig(model or small, data="noise", steps=ROUNDS, batch_size=8, training=training)


@pytest.fixture(scope="module")
def final(tmp_path_factory):
    """The final state of a run, as named arrays; every kind of run is trained once."""

    @functools.cache
    def run(rounds_per_dispatch, streaming, quickly):
        folder, told = tmp_path_factory.mktemp("runs") / "run", io.StringIO()
        config = config_of(rounds_per_dispatch, feeding="stream" if streaming else "resident")
        jax.config.update("jax_disable_most_optimizations", quickly)
        try:
            train(config, folder, SOURCE, console=Console(file=told, width=200))
        finally:
            jax.config.update("jax_disable_most_optimizations", False)
        assert ("read batch by batch" if streaming else "on the device") in told.getvalue()
        assert f"{rounds_per_dispatch} rounds a dispatch" in told.getvalue()
        with Checkpoints(folder / "checkpoints") as checkpoints:
            step, arrays, _ = checkpoints.restore()
        assert step == arrays["step"] == ROUNDS
        return arrays

    return run


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(right[name], array, err_msg=name)


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["compiled quickly", "optimized"])
def quickly(request):
    """With the compiler's optimizations too, which take several times as long."""
    return request.param


def test_data_on_the_device_and_data_read_batch_by_batch_train_the_same_bits(final, quickly):
    assert_same_bits(final(4, False, quickly), final(4, True, quickly))


@pytest.mark.parametrize("rounds_per_dispatch", [1, 16])
def test_however_many_rounds_go_to_the_device_at_once_they_train_the_same_bits(final, rounds_per_dispatch, quickly):
    """Of an MLP; the last bit of a convolution may differ in a loop (up to 1.2e-7 seen, with JAX 0.10 on a CPU)."""
    assert_same_bits(final(4, False, quickly), final(rounds_per_dispatch, False, quickly))


WHERE = ["resident", "stream"]


@pytest.mark.parametrize("where", WHERE)
def test_rows_beyond_the_count_repeat_the_last_so_that_no_shape_changes(where):
    experiment = assemble(config_of(feeding=where), SOURCE.spec)
    whole, part = (feeder(experiment, SOURCE, 10) for _ in range(2))
    assert bool(whole.store) == (where == "resident")
    whole, part = whole.feed(4), part.feed(3)
    for name, leaf in whole.items():
        assert leaf.shape[:4] == (4, 1, 1, 8)
        assert (part[name].shape, part[name].dtype) == (leaf.shape, leaf.dtype)
        np.testing.assert_array_equal(part[name][:3], leaf[:3])
        np.testing.assert_array_equal(part[name][3], leaf[2])


def fed(where, counts, first=5, **part):
    """The batches of some dispatches, ready for the losses."""
    experiment = assemble(config_of(3, feeding=where), SOURCE.spec)
    store, feed = feeder(experiment, SOURCE, first, **part)
    return [fetch(store, feed(count)) for count in counts]


@pytest.mark.parametrize("installed", [True, False], ids=["with Grain", "without Grain"])
def test_both_ways_give_the_losses_the_same_batches(installed, monkeypatch):
    if not installed:
        monkeypatch.setitem(sys.modules, "grain", None)
    for resident, streamed in zip(*(fed(where, (3, 2, 3)) for where in WHERE), strict=True):
        assert set(resident) == {"image", "label", "position"}
        for name, leaf in resident.items():
            assert leaf.dtype == streamed[name].dtype
            np.testing.assert_array_equal(leaf, streamed[name])


def test_however_rounds_are_fed_they_are_the_same(monkeypatch):
    (a, b), (c, d) = fed("stream", (3, 1)), fed("stream", (2, 2))
    for name in a:
        rows = [np.concatenate([a[name], b[name][:1]]), np.concatenate([c[name][:2], d[name][:2]])]
        np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize("where", WHERE)
def test_processes_share_each_batch_in_contiguous_parts(where):
    (whole,) = fed(where, [3])
    parts = [fed(where, [3], part=part, parts=4)[0] for part in range(4)]
    for name, leaf in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts], axis=3), leaf)


@pytest.mark.parametrize("where", WHERE)
def test_labels_attributes_and_captions_reach_the_losses(where):
    index = np.arange(50)
    arrays = {
        "image": np.repeat(index.astype(np.uint8), 64).reshape(50, 8, 8),
        "label": index % 5,
        "attributes": np.stack([index % 3, index % 2], axis=1),
        "caption": np.array([f"number {number} ä" for number in index]),
    }
    source = ArraySource(arrays, attributes=(("third", 3), ("odd", 2)))
    experiment = assemble(config_of(2, feeding=where), source.spec)
    assert experiment.spec.attributes == (("third", 3), ("odd", 2)) and experiment.spec.caption_length == 12
    store, feed = feeder(experiment, source)
    batch = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(16, *leaf.shape[4:]), fetch(store, feed(2)))
    shown = np.round((batch["image"][:, 0, 0, 0] + 1) * 127.5).astype(int)
    np.testing.assert_array_equal(batch["label"], shown % 5)
    np.testing.assert_array_equal(batch["attributes"], np.stack([shown % 3, shown % 2], axis=1))
    told = [bytes(row).rstrip(b"\0").decode() for row in batch["caption"]]
    assert told == [f"number {number} ä" for number in shown]


def test_a_failing_source_fails_in_the_loop_not_in_a_thread_of_the_reader():
    class Failing(ArraySource):
        def example(self, index):
            raise OSError("the disk is gone")

    failing = Failing({"image": np.zeros((50, 8, 8, 1), np.uint8)})
    failing.arrays = None
    with pytest.raises(Exception, match="NoneType|the disk is gone"):
        feeder(assemble(config_of(feeding="stream"), failing.spec), failing).feed(1)


def test_data_live_on_the_device_up_to_the_limit_in_bytes(monkeypatch):
    size = 50 * (8 * 8 + 4)  # pixels in uint8, labels in int32
    for limit, expected in ((size, True), (size - 1, False)):
        monkeypatch.setattr(feeding, "RESIDENT_BYTES", limit)
        assert feeding.fits(SOURCE) == expected


def test_the_fingerprint_is_of_all_data_or_where_they_are_large_of_the_first_example(monkeypatch):
    arrays = {name: array.copy() for name, array in SOURCE.arrays.items()}
    first = feeding.fingerprint(SOURCE)
    assert feeding.fingerprint(ArraySource(arrays)) == first
    arrays["image"][49, 7, 7, 0] ^= 1
    assert feeding.fingerprint(ArraySource(arrays)) != first
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", 0)
    large = feeding.fingerprint(SOURCE)
    assert feeding.fingerprint(ArraySource(arrays)) == large
    arrays["image"][0, 0, 0, 0] ^= 1
    assert feeding.fingerprint(ArraySource(arrays)) != large
