"""Signs of collapse: which histories have them and which must not, number by number; and no row is looked at twice."""

import numpy as np
import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.models import gan, vae
from vaegan_jax.training import collapse
from vaegan_jax.training.collapse import FACTOR, FEWEST, ROWS, SETTLED, SLOPE, SPAN, VARIANCE, fresh, lookback, signals
from vaegan_jax.training.config import RunConfig, TrainingConfig

LAYER = "sigma/generator.Dense_0.kernel"
OTHER = "sigma/discriminator.Dense_0.kernel"
SETTLING, STEEP, SPREAD = "discriminator/settled", "discriminator/slope", "samples/variance"


def history(every=100, **columns):
    """Rows at these intervals, from the first on; names have "_" for what a keyword cannot have."""
    names = {"layer": LAYER, "other": OTHER, "settled": SETTLING, "slope": STEEP, "variance": SPREAD}
    rows = [{"step": every * (place + 1), "images": 8} for place in range(max(map(len, columns.values())))]
    for name, column in columns.items():
        for row, value in zip(rows, column, strict=False):
            if value is not None:
                row[names[name]] = value
    return rows


def names(rows):
    return [signal.name for signal in signals(rows)]


QUIET = {
    "nothing yet": [],
    "a row of a VAE": [{"step": 5000, "images": 8, "vae/loss": 3.0}],
    "spectra that grow steadily": history(layer=[1.15**n for n in range(60)]),
    "spectra that grow fast at first": history(layer=[1.0, 2.0, 4.0, 8.0]),
    "spectra at the bound": history(layer=[2.0] * 12 + [2.0 * FACTOR]),
    "a kernel that grows from zero": history(layer=[0.0] * 5 + [0.001, 0.01, 0.1, 0.5, 1.0, 1.9, 2.9]),
    "spectra that fall": history(layer=[50.0] * 12 + [1.0]),
    "few measurements": history(500, layer=[1.0] * (FEWEST - 1) + [99.0]),
    "many measurements in few rounds": history(10, layer=[1.0] * 20 + [99.0]),
    "a discriminator that is nearly sure": history(settled=[SETTLED - 0.01] * 99),
    "a discriminator that is sure now and then": history(settled=[1.0, 1.0, 1.0, 1.0, 0.8] * 20),
    "a discriminator that is sure for a while": history(settled=[0.5] * 9 + [1.0] * 4),
    "a discriminator that is sure at first": history(50, settled=[1.0] * 9),
    "few rows of a discriminator that is sure": history(1000, settled=[0.5] + [1.0] * (ROWS - 1)),
    "a critic's slope at the bound": history(slope=[SLOPE] * 99),
    "a varied generator": history(variance=[0.9, 1.1] * 9),
    "a generator that is dull at the bound": history(variance=[VARIANCE] * 99),
    "a generator that has just begun": history(variance=[0.0] * 4),
    "a generator that is dull for a moment": history(500, variance=[0.9, 0.9, 0.0, 0.0, 0.9]),
    "what is not finite": history(layer=[1.0] * 12 + [float("nan")]),
    "what happened before": history(layer=[1.0] * 12 + [9.0, 1.0], settled=[1.0] * 13 + [0.2], variance=[0.9] * 14),
}


@pytest.mark.parametrize("rows", QUIET.values(), ids=QUIET)
def test_no_signal_is_given_for(rows):
    assert names(rows) == []


def test_an_explosion_of_the_spectra_is_told_by_its_layer_its_growth_and_the_last_calm_measurement():
    rows = history(layer=[2.0] * 9 + [3.0, 3.4, 3.5, 6.1], other=[5.0] * 12 + [14.0])
    (signal,) = signals(rows)
    assert (signal.name, signal.healthy) == ("spectra", 1100)  # 3.4 <= sqrt(3) 2 < 3.5
    np.testing.assert_allclose(signal.value, 6.1 / 2.0)
    assert signal.told.startswith(
        "the largest singular value of generator.Dense_0.kernel is 6.1, 3.05 times its median"
    )
    assert names(rows[:-1]) == []
    rows[-1][OTHER] = 16.0  # grows more
    assert signals(rows)[0].told.startswith(
        "the largest singular value of discriminator.Dense_0.kernel is 16, 3.2 times"
    )
    slow = history(layer=[2.0] * 7 + [4.0, 4.0, 4.0, 6.1])
    assert signals(slow)[0].healthy == 800  # none of the last three was calm: no farther back than these


def test_a_layer_that_shrinks_what_it_is_given_is_measured_by_one():
    assert names(history(layer=[0.01] * 12 + [3.01])) == ["spectra"] and names(history(layer=[0.01] * 12 + [3.0])) == []


def test_the_median_is_of_the_last_measurements_alone_but_of_as_many_as_a_span_has():
    assert names(history(layer=[1.0] * 50 + [4.0] * 6 + [11.0])) == []
    assert names(history(layer=[1.0] * 50 + [4.0] * 4 + [11.0])) == ["spectra"]
    often = history(10, layer=[1.0] * 100 + [4.0] * 20 + [11.0])
    assert names(often) == ["spectra"]  # the last ten measurements are no more than a hundred rounds


@pytest.mark.parametrize(
    ("column", "calm", "wild", "told"),
    [
        ("settled", 0.5, 0.97, "the loss of the discriminator is below 0.01 for 97.0% of images (bound 95%)"),
        ("slope", 1.1, 40.0, "the slope of the discriminator between images is 40 (bound 10)"),
    ],
    ids=["settled", "slope"],
)
def test_a_discriminator_that_has_won_for_a_span_is_told_with_the_round_before(column, calm, wild, told):
    rows = history(50, **{column: [calm] * 20 + [wild] * 10})
    (signal,) = signals(rows)
    assert signal == collapse.Signal("saturation", wild, 1000, told)
    assert names(rows[:-1]) == []
    assert signals(history(50, **{column: [wild] * 10}))[0].healthy == 0  # from the beginning
    seldom = history(1000, **{column: [calm] + [wild] * ROWS})
    assert signals(seldom)[0].healthy == 1000 and names(seldom[:-1]) == []


def test_samples_that_no_longer_differ_are_told_with_the_measurement_before():
    rows = history(500, variance=[0.8, 0.9, 0.018, 0.01, 0.004])
    (signal,) = signals(rows)
    assert signal == collapse.Signal(
        "variance", 0.01, 1000, "the variance of samples is 1.00% of the data's (bound 2%)"
    )
    assert names(rows[:-1]) == [] and names(history(10, variance=[0.9] + [0.0] * 51)) == ["variance"]
    assert signals(history(500, variance=[0.0] * 3))[0].healthy == 0


def test_a_signal_that_lasts_is_fresh_once_and_again_after_a_pause():
    watched = history(variance=[0.9] * 3 + [0.0] * 9 + [0.9] + [0.0] * 9)
    rows = []
    for row in watched:  # rows between measurements tell nothing of them
        rows += [row, {"step": row["step"] + 50, "images": 8, SETTLING: 0.1}]
    told = [rows[end - 1]["step"] for end in range(1, len(rows) + 1) if fresh(rows[:end])]
    lasting = [rows[end - 1]["step"] for end in range(1, len(rows) + 1) if signals(rows[:end])]
    assert told == [800, 1800] and lasting == [800, 900, 1000, 1100, 1200, 1800, 1900, 2000, 2100, 2200]


def test_several_signals_are_told_together_and_each_has_its_finder():
    rows = history(50, layer=[1.0] * 29 + [9.0], settled=[0.1] * 15 + [1.0] * 15, variance=[1.0] * 10 + [0.0] * 20)
    assert names(rows) == list(collapse.SIGNALS) == ["spectra", "saturation", "variance"]


@pytest.mark.parametrize(("log", "watch", "save"), [(50, 500, 500), (50, 100, 20), (1000, 300, 700), (70, 2000, 333)])
def test_a_checkpoint_from_before_any_signal_is_always_kept(log, watch, save):
    """Wherever things begin to go wrong, when they are told the newest healthy checkpoint is among the last so many."""
    training = TrainingConfig(log_interval_steps=log, checkpoint_interval_steps=save)
    config = RunConfig(vae.Config(), watch_every=watch, on_collapse="rollback", training=training)
    bad = 6 * max(log, watch)
    rows = []
    for step in range(1, bad + 20 * max(log, watch, SPAN)):
        if step % log == 0 or step % watch == 0:
            row = {"step": step, SETTLING: 1.0 if step > bad else 0.0}
            if step % watch == 0:
                row |= {SPREAD: 0.0 if step > bad else 1.0, LAYER: 2.0 if step <= bad else 3.6}
            rows.append(row)
    firing = {}
    for end, row in enumerate(rows, 1):
        if row["step"] > bad and len(firing) < 2:
            firing |= {signal.name: (row["step"], signal.healthy) for signal in fresh(rows[:end])}
    assert set(firing) == {"saturation", "variance"}
    for now, healthy in firing.values():
        assert bad - max(log, watch) <= healthy <= bad and now - healthy <= lookback(log, watch)
        saved = range(save, now, save)
        assert [step for step in saved if step <= healthy][-1:] == [
            step for step in saved[-collapse.kept(config) :] if step <= healthy
        ][-1:]


def test_no_more_checkpoints_are_kept_than_asked_for_where_nobody_goes_back():
    assert collapse.kept(RunConfig(vae.Config())) == 3
    assert collapse.kept(RunConfig(vae.Config(), on_collapse="rollback")) == 6
    many = TrainingConfig(keep_checkpoints=9)
    assert collapse.kept(RunConfig(vae.Config(), on_collapse="stop", training=many)) == 9


def test_what_cannot_be_seen_or_gone_back_to_is_refused():
    for fields, told in (
        ({"on_collapse": "stop", "watch_every": 0}, "on-collapse stop is blind for spectra and samples"),
        (
            {"on_collapse": "rollback", "training": TrainingConfig(checkpoint_interval_steps=0)},
            "training.checkpoint-interval-steps 0 makes none",
        ),
        ({"rollbacks": 0}, "rollbacks must be at least 1, not 0"),
        ({"watch_every": -1}, r"watch-every must be 0 \(never\) or more, not -1"),
    ):
        with pytest.raises(UserError, match=told):
            RunConfig(gan.Config(), **fields)
