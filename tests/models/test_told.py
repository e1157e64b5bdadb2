"""What is told of how far a discriminator has won, by hand: `collapse` reads it."""

import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.models import gan, gan_terms
from vaegan_jax.models.adversarial_game import Seen, Table
from vaegan_jax.models.gan_networks import Judgment

NAMES = {"real", "fake"}


def table_of(real, fake, images=(None, None)):
    seen = [
        Seen(image, None, None, Judgment(jnp.asarray(score, jnp.float32), jnp.zeros((len(score), 1))))
        for score, image in zip((real, fake), images, strict=True)
    ]
    return Table(**dict.fromkeys(Table._fields) | {"real": seen[0], "fake": seen[1]})


def told(value, **fields):
    return gan_terms.told(gan.Config(value=value, **fields))["discriminator"]


LOGIT = float(np.log(0.991 / 0.009))  # D = 0.991, of which the loss is 0.00904
SETTLED = {
    "non-saturating": ([LOGIT, LOGIT, 4.5, 9.0], [-LOGIT, 0.0, -9.0, 9.0], 0.5),
    "minimax": ([LOGIT, -LOGIT, 0.0, 0.0], [-9.0] * 4, 0.25),
    "hinge": ([1.0, 5.0, 0.995, 0.98], [-1.0, -0.98, 0.0, -7.0], 0.5),
    "least-squares": ([1.09, 0.91, 1.11, 0.0], [0.05, -0.05, 0.0, 0.09], 0.5),
    "relativistic": ([LOGIT, LOGIT, 0.0, 0.0], [0.0, 1.0, -LOGIT, -9.0], 0.75),
    "relativistic-average": ([6.0, 6.0, 6.0, 0.0], [-1.0, -1.0, 0.0, 1.0], 0.5),
}


@pytest.mark.parametrize(("value", "case"), SETTLED.items(), ids=SETTLED)
def test_the_share_on_which_the_discriminator_loses_little_is_the_lesser_of_both_sides(value, case):
    real, fake, share = case
    assert set(told(value)) == NAMES | {"settled"}
    assert float(told(value)["settled"](table_of(real, fake))) == share


def test_a_smoothed_target_leaves_always_something_to_learn():
    certain = table_of([99.0] * 4, [-99.0] * 4)
    assert float(told("non-saturating")["settled"](certain)) == 1
    assert float(told("non-saturating", label_smoothing=0.1)["settled"](certain)) == 0


def test_the_slope_of_a_critic_is_taken_between_pairs_of_images():
    draw = np.random.default_rng(0).normal
    real, fake, images = draw(size=5), draw(size=5), draw(size=(2, 5, 4, 3, 2)).astype(np.float32)
    found = told("wasserstein")["slope"](table_of(real, fake, jnp.asarray(images)))
    distances = np.sqrt(np.square(images[0] - images[1]).sum((1, 2, 3)))
    np.testing.assert_allclose(found, np.abs(real - fake) / distances, rtol=1e-5)
    assert set(told("wasserstein")) == NAMES | {"slope"}
    alike = told("wasserstein")["slope"](table_of(real, real, jnp.asarray(images[[0, 0]])))
    np.testing.assert_array_equal(alike, np.zeros(5))
