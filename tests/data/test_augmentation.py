"""Augmentation against NumPy: what each image may become, how often, and that its place in the batch decides."""

import jax
import numpy as np
import pytest

from vaegan_jax.data.augmentation import Augmentation, augment, augmented_shape, middle
from vaegan_jax.data.sources import ArraySource
from vaegan_jax.errors import UserError
from vaegan_jax.models import vae
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import assemble, step_of
from vaegan_jax.training.feeding import feeder

pytestmark = pytest.mark.usefixtures("compiled_quickly")
IMAGE = np.random.default_rng(0).uniform(-1, 1, (5, 6, 3)).astype(np.float32)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def possible(config):
    """Every outcome for the one image, by plain slicing."""
    height, width, _ = augmented_shape(config, IMAGE.shape)
    padded = np.pad(IMAGE, ((config.pad, config.pad), (config.pad, config.pad), (0, 0)), constant_values=-1)
    cuts = [
        padded[top : top + height, left : left + width]
        for top in range(padded.shape[0] - height + 1)
        for left in range(padded.shape[1] - width + 1)
    ]
    return [*cuts, *(cut[:, ::-1] for cut in cuts)] if config.flip else cuts


@pytest.mark.parametrize(
    "config",
    [Augmentation(flip=True), Augmentation(pad=1), Augmentation(crop=4), Augmentation(1, 5, True), Augmentation()],
    ids=str,
)
def test_every_possible_outcome_and_no_other_is_drawn_equally_often(config):
    count, outcomes = 3000, possible(config)
    changed = np.asarray(augment(config, np.stack([IMAGE] * count), keys(count)))
    hits = np.array([(changed == outcome).all((1, 2, 3)).sum() for outcome in outcomes])
    assert hits.sum() == count
    share = count / len(outcomes)
    assert (abs(hits - share) <= 5 * np.sqrt(share)).all()


def test_an_image_s_key_alone_decides():
    config, images = Augmentation(2, 0, True), np.stack([IMAGE, -IMAGE, IMAGE / 2, 0 * IMAGE])
    whole = augment(config, images, keys(4))
    for index in range(4):
        alone = augment(config, images[index : index + 1], keys(4)[index : index + 1])
        np.testing.assert_array_equal(alone[0], whole[index])


def test_the_middle_is_of_the_shape_that_is_learned():
    np.testing.assert_array_equal(middle(IMAGE[None], (3, 2, 3))[0], IMAGE[1:4, 2:4])
    np.testing.assert_array_equal(middle(IMAGE[None], IMAGE.shape)[0], IMAGE)


@pytest.mark.parametrize(
    ("fields", "told"), [({"pad": -1}, "augmentation.pad must be"), ({"crop": -4}, "augmentation.crop must be")]
)
def test_negative_pixels_are_refused(fields, told):
    with pytest.raises(UserError, match=told):
        Augmentation(**fields)


def test_a_crop_larger_than_the_images_is_refused_when_a_run_is_put_together():
    source = ArraySource({"image": np.zeros((4, 8, 8, 1), np.uint8)})
    with pytest.raises(UserError, match="augmentation.crop 9 is larger than the images: 8 pixels"):
        assemble(RunConfig(augmentation=Augmentation(crop=9)), source.spec)


@pytest.mark.slow
def test_a_run_trains_on_changed_images_the_same_in_micro_batches_as_in_one(float64):
    """Only noise by position gives that: the sums of a Gaussian likelihood show every pixel."""
    source = ArraySource({"image": np.random.default_rng(1).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)})
    model = vae.Config(hidden_sizes=(4,), latent_size=2, likelihood="gaussian")

    def losses(augmentation, micro_batches=1):
        training = TrainingConfig(micro_batches=micro_batches, rounds_per_dispatch=1)
        config = RunConfig(model, batch_size=8, augmentation=augmentation, training=training)
        experiment = assemble(config, source.spec)
        store, feed = feeder(experiment, source)
        state, step, told = first_state(experiment), jax.jit(step_of(experiment)), []
        for _ in range(3):
            batch = {name: leaf[0] for name, leaf in feed(1).items()}
            state, metrics = step(state, batch, jax.random.key(0), store)
            told.append(float(metrics["vae/loss"]))
        return told

    changed = Augmentation(pad=2, crop=6, flip=True)
    np.testing.assert_allclose(losses(changed, 4), losses(changed), rtol=1e-12)
    same_size = Augmentation(flip=True)
    assert not np.allclose(losses(same_size), losses(Augmentation()), rtol=1e-6)
    assert assemble(RunConfig(model, augmentation=changed), source.spec).spec.image_shape == (6, 6, 1)
