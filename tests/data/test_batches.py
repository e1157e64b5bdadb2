"""The batch of round t is a pure function of (seed, t), and every reader gives the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.data import batches
from vaegan_jax.data.sources import ArraySource, DataSpec, Source, gather
from vaegan_jax.errors import UserError


class OneByOne:
    """A source that is no ArraySource, as a reader of files would be."""

    def __init__(self, source):
        self.spec, self._source = source.spec, source

    def __len__(self):
        return len(self._source)

    def example(self, index):
        return self._source.example(index)


def byte_source(n=37, labeled=True, channels=1):
    rng = np.random.RandomState(0)
    arrays = {"image": rng.randint(0, 256, (n, 5, 4, channels)).astype(np.uint8)}
    return ArraySource(arrays | ({"label": np.arange(n) % 7} if labeled else {}))


def float_source(n=37):
    return ArraySource({"image": np.random.RandomState(1).uniform(-1, 1, (n, 5, 4, 3)).astype(np.float32)})


@pytest.mark.parametrize("n", [1, 2, 7, 10_000])
def test_each_epoch_is_a_permutation(n):
    for epoch in (0, 1, 5, 10**7):
        permutation = batches.order(3, epoch, n)
        assert permutation.dtype == np.int32
        np.testing.assert_array_equal(np.sort(permutation), np.arange(n))


def test_seeds_and_epochs_give_different_orders():
    orders = [tuple(batches.order(seed, epoch, 100)) for seed in range(4) for epoch in range(4)]
    orders.append(tuple(batches.order(2**64 + 5, 0, 100)))
    assert len(set(orders)) == 17


def test_the_order_is_the_one_that_older_runs_had():
    order = batches.order(0, 0, 10_000)
    assert order[:12].tolist() == [7591, 1378, 7284, 3517, 6106, 3850, 6580, 724, 4643, 4391, 5534, 104]
    assert order[-4:].tolist() == [4646, 3103, 4142, 4377]
    assert batches.order(12345678901234567890, 7, 10).tolist() == [4, 0, 1, 2, 8, 5, 9, 3, 7, 6]


def test_a_cached_order_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError):
        batches.order(0, 0, 10)[0] = 1


@pytest.mark.parametrize("first", [0, 1, 9, 10, 11, 25])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 35])
def test_records_are_a_slice_of_the_row_of_epochs(first, count):
    row = np.concatenate([batches.order(4, epoch, 10) for epoch in range(7)])
    got = batches.records(4, first, count, 10)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, row[first : first + count])


@pytest.mark.parametrize(
    "shape, n", [((1, 1, 8), 32), ((1, 1, 7), 32), ((3, 2, 5), 41), ((2, 2, 16), 10), ((1, 1, 1), 1)]
)
def test_batches_of_consecutive_rounds_tile_the_epochs(shape, n):
    rounds = -(-5 * n // int(np.prod(shape))) + 1
    row = np.concatenate([batches.batch(9, step, shape, n)["index"].ravel() for step in range(rounds)])
    for epoch in range(5):
        np.testing.assert_array_equal(np.sort(row[epoch * n : (epoch + 1) * n]), np.arange(n))
        np.testing.assert_array_equal(row[epoch * n : (epoch + 1) * n], batches.order(9, epoch, n))


def test_a_batch_larger_than_the_set_holds_whole_epochs():
    index = batches.batch(0, 0, (1, 1, 50), 20)["index"]
    assert index.shape == (1, 1, 50)
    counts = np.bincount(index.ravel(), minlength=20)
    assert set(counts) == {2, 3} and counts.sum() == 50


def test_position_is_the_place_in_the_global_batch_of_each_move():
    batch = batches.batch(0, 3, (3, 2, 4), 100)
    assert batch["index"].shape == batch["position"].shape == (3, 2, 4)
    assert batch["index"].dtype == batch["position"].dtype == np.int32
    for move in batch["position"]:
        np.testing.assert_array_equal(move.ravel(), np.arange(8))


def test_moves_of_a_round_read_different_records():
    index = batches.batch(0, 0, (4, 1, 5), 20)["index"]
    assert len(set(index.ravel().tolist())) == 20


def test_the_cut_into_micro_batches_does_not_change_the_records():
    whole, cut = batches.batch(1, 6, (2, 1, 12), 50), batches.batch(1, 6, (2, 3, 4), 50)
    for name in ("index", "position"):
        np.testing.assert_array_equal(whole[name].ravel(), cut[name].ravel())


@pytest.mark.parametrize("integer", [int, np.int32, np.int64])
def test_rounds_in_the_millions_do_not_overflow(integer):
    step, n, size = 40_000_000, 10_000, 640  # record 25,600,000,000: epoch 2,560,000 from its beginning
    index = batches.batch(integer(0), integer(step), (integer(5), integer(1), integer(128)), integer(n))[
        "index"
    ].ravel()
    np.testing.assert_array_equal(index, batches.order(0, step * size // n, n)[:size])


def test_a_source_without_examples_is_refused():
    with pytest.raises(UserError, match="no examples"):
        batches.batch(0, 0, (1, 1, 4), 0)


@pytest.mark.parametrize("source", [byte_source(), byte_source(labeled=False, channels=3), float_source()])
@pytest.mark.parametrize("x64", [False, True])
def test_resident_and_streaming_give_the_same_bits(source, x64):
    with jax.enable_x64(x64):
        store, fetch = batches.resident(OneByOne(source)), jax.jit(batches.fetch)
        for step in range(3):
            batch = batches.batch(5, step, (2, 3, 4), len(source))
            resident, streamed = fetch(store, batch), fetch({}, batches.read(OneByOne(source), batch))
            eager = batches.fetch(batches.resident(source), batch)
            assert set(resident) == set(streamed) == {"image", "position"} | set(source.arrays)
            for name, leaf in resident.items():
                assert leaf.dtype == streamed[name].dtype
                np.testing.assert_array_equal(leaf, streamed[name])
                np.testing.assert_array_equal(leaf, eager[name])


def test_fetch_gives_the_examples_that_the_indices_name():
    source, batch = byte_source(), batches.batch(5, 2, (2, 3, 4), 37)
    got = jax.jit(batches.fetch)(batches.resident(source), batch)
    assert got["image"].shape == (2, 3, 4, 5, 4, 1) and got["image"].dtype == jnp.float32
    assert got["label"].shape == (2, 3, 4) and got["label"].dtype == jnp.int32
    for place in np.ndindex(2, 3, 4):
        example = source.example(batch["index"][place])
        np.testing.assert_allclose(got["image"][place], example["image"] / 127.5 - 1, atol=1e-7)
        assert got["label"][place] == example["label"]
    np.testing.assert_array_equal(got["position"], batch["position"])


def test_gather_agrees_for_every_kind_of_source():
    source, indices = byte_source(), np.array([[3, 0, 3], [36, 1, 2]])
    fast, slow = gather(source, indices), gather(OneByOne(source), indices)
    assert fast["image"].shape == (2, 3, 5, 4, 1) and fast["label"].shape == (2, 3)
    for name, leaf in fast.items():
        assert leaf.dtype == slow[name].dtype
        np.testing.assert_array_equal(leaf, slow[name])


@pytest.mark.parametrize("convert", [batches.fetch, jax.jit(batches.fetch)], ids=["eager", "jit"])
@pytest.mark.parametrize("x64", [False, True])
def test_bytes_scale_exactly_at_both_ends_and_come_back(convert, x64):
    with jax.enable_x64(x64):
        levels = np.arange(256, dtype=np.uint8)
        image = np.asarray(convert({}, {"image": levels.reshape(1, 1, 1, 16, 16, 1)})["image"]).ravel()
        assert image.dtype == (np.float64 if x64 else np.float32)
        assert image[0] == -1 and image[255] == 1
        np.testing.assert_array_equal(image, -image[::-1])
        np.testing.assert_allclose(image, levels / 127.5 - 1, rtol=0, atol=1e-15 if x64 else 1e-7)
        np.testing.assert_array_equal(np.rint((image + 1) * 127.5).astype(np.uint8), levels)


def test_fetch_compiles_once_for_all_rounds():
    source, traces = byte_source(), []
    store, fetch = batches.resident(source), jax.jit(lambda *args: (traces.append(1), batches.fetch(*args))[1])
    for step in range(4):
        fetch(store, batches.batch(0, step, (1, 2, 4), len(source)))
    assert len(traces) == 1


def test_a_reader_of_ones_own_is_a_source():
    assert isinstance(OneByOne(byte_source()), Source)
    assert OneByOne(byte_source()).spec == DataSpec("the data", (5, 4, 1), classes=7)
