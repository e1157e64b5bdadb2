"""The game of a generator and a discriminator, made of replaceable pure functions: what all GANs have in common.

Goodfellow et al. 2014 (arXiv 1406.2661). Each move lays a `Table`: images, real and generated, as the discriminator
sees them, and its verdicts. Every player owns the network of its name and pays a sum of named terms, each a function
of the table. A paper is a generator, a discriminator and a filling of `Seams`; some add a player.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from vaegan_jax import latents
from vaegan_jax.games import Game, Params, Player, Schedule, Stats, example_keys
from vaegan_jax.losses import adversarial
from vaegan_jax.models.gan_networks import Judgment
from vaegan_jax.networks.network import Network, held


class Seen(NamedTuple):
    """Images as the discriminator sees them, (n, height, width, channels), and what it makes of them."""

    images: jax.Array
    labels: jax.Array | None
    """Classes (n,); None where the networks are told none."""
    latents: jax.Array | None
    """What the images were generated from, (n, d); None for real ones."""
    judgment: Judgment
    """Score (n,), features (n, f) and, where the discriminator has them, class logits (n, k)."""

    @property
    def score(self) -> jax.Array:
        """(n,): a logit, a critic's value or minus an energy; the higher, the more real."""
        return self.judgment.score


class Table(NamedTuple):
    """What lies open in a move. The functions are for terms that try more images; they move no statistics."""

    params: Params
    keys: jax.Array
    """(n,): for a term's own noise, others for each term."""
    step: jax.Array
    images: jax.Array
    """Real ones as they come, in [-1, 1]."""
    real: Seen
    fake: Seen
    judge: Callable[[jax.Array, jax.Array | None], Judgment]
    """(images, labels) -> verdict on these alone, for terms of single images."""
    judge_both: Callable[[jax.Array, jax.Array], tuple[Judgment, Judgment]]
    """Others in place of the real and of the generated images -> verdicts as on those, in one batch where they were."""
    generate: Callable[[jax.Array], jax.Array]
    """Latents -> images in [-1, 1], of the classes of `fake`."""
    view: Callable[[jax.Array], jax.Array]
    """Generated images -> these as the discriminator sees them, changed in the same way as those of `fake`."""


Term = Callable[[Table], jax.Array]
"""A part of a loss, its weight included: (n,), or a number where examples are mixed."""


class Recall(NamedTuple):
    """Generated images and the discriminator's stats, which may hold older ones."""

    images: jax.Array
    stats: Stats


class Seams(NamedTuple):
    """What a GAN is made of, besides its networks."""

    prior: latents.Prior
    """Keys (n,) -> latents (n, d)."""
    terms: dict[str, dict[str, Term]]
    """What each player pays, by names; all but "value" are metrics of the player as well."""
    told: dict[str, dict[str, Term]]
    """Metrics that nobody pays, by player."""
    view: Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array] = lambda params, images, keys, step: images
    """(params, images, keys, step) -> images as the discriminator sees them, real and generated alike."""
    recall: Callable[[Recall], Recall] = lambda recall: recall
    """What the discriminator is shown, in its own moves, in place of the newest generated images."""
    classes: int = 0
    """Classes of which both networks are told; 0: none."""
    joint_batch: bool = False
    """Shows real and generated images in one batch, so that batch norms mix them, not in one each."""
    noisy: bool = False
    """Gives the generator `keys` (n,) for noise of its own (`networks.noise`)."""


def game(networks: dict[str, Network], seams: Seams, optimizers: dict[str, optax.GradientTransformation]) -> Game:
    """A player for each entry of `seams.terms`, who owns the network of that name.

    Networks are "generator", latents (n, d) and classes (n, k) or None -> images before tanh; "discriminator", images
    and classes or None -> `Judgment`; and those of further players.
    """

    def player(name: str) -> Player:
        def loss(params, stats, batch, key, step):
            table, moved = lay(networks, seams, params, stats, batch, key, step, recalled=name == "discriminator")
            value, metrics = _pay(seams.terms[name], table)
            metrics |= {title: term(table).mean() for title, term in seams.told.get(name, {}).items()}
            return value, ({name: moved[name]} if name in moved else {}, metrics)

        return Player((name,), loss, optimizers[name])

    return {name: player(name) for name in seams.terms}


def lay(
    networks: dict[str, Network], seams: Seams, params: Params, stats: Stats, batch, key, step, recalled: bool
) -> tuple[Table, Stats]:
    """The table of a move, and the new stats of the generator and of the discriminator."""
    latent_keys, *view_keys, label_keys, keys = (example_keys(k, batch) for k in jax.random.split(key, 5))
    labels = batch["label"] if seams.classes else None
    wanted = None if labels is None else completed(labels, label_keys, seams.classes)
    latent, before = seams.prior(latent_keys), stats["discriminator"]

    noise = {"keys": jax.vmap(jax.random.fold_in, (0, None))(latent_keys, 1)} if seams.noisy else {}

    def made(latent):
        return generate(networks["generator"], params, stats, latent, wanted, seams.classes, train=True, **noise)

    fake, moved = made(latent)
    if recalled:
        fake, before = seams.recall(Recall(fake, before))
    views = [seams.view(params, x, k, step) for x, k in zip((batch["image"], fake), view_keys, strict=True)]

    def judge(images, labels, stats=before):
        told = one_hot(labels, seams.classes)
        return networks["discriminator"].apply(params["discriminator"], stats, images, told, train=True)

    def judge_both(real, fake):
        if seams.joint_batch:
            both = None if labels is None else jnp.concatenate([labels, wanted])
            verdicts, after = judge(jnp.concatenate([real, fake]), both)
            return tuple(jax.tree.map(lambda x, at=at: jnp.split(x, 2)[at], verdicts) for at in (0, 1)), after
        of_real, between = judge(real, labels)
        of_fake, after = judge(fake, wanted, held(between, before))
        return (of_real, of_fake), after

    (of_real, of_fake), after = judge_both(*views)
    table = Table(
        params,
        keys,
        step,
        batch["image"],
        Seen(views[0], labels, None, of_real),
        Seen(views[1], wanted, latent, of_fake),
        lambda images, labels: judge(images, labels)[0],
        lambda real, fake: judge_both(real, fake)[0],
        lambda latent: made(latent)[0],
        lambda images: seams.view(params, images, view_keys[1], step),
    )
    return table, {"generator": moved, "discriminator": after}


def generate(
    generator: Network, params: Params, stats: Stats, latent: jax.Array, labels, classes: int, train: bool, **noise
) -> tuple[jax.Array, Stats]:
    """Images in [-1, 1] of latents (n, d) and labels (n,), weights of classes (n, k) or None; the generator's stats."""
    told = one_hot(labels, classes)
    output, moved = generator.apply(params["generator"], stats["generator"], latent, told, train=train, **noise)
    return jnp.tanh(output), moved


def one_hot(labels: Int[Array, " n"] | Float[Array, "n k"] | None, classes: int) -> Float[Array, "n k"] | None:
    """Labels as the networks are told them; zeros for -1, an image without a label. Weights of classes stay so."""
    weighed = labels is None or labels.ndim == 2
    return labels if weighed else jax.nn.one_hot(labels, classes, dtype=float)


def drawn_classes(keys: Key[Array, " n"], count: int) -> Int[Array, " n"]:
    """The classes of samples, each drawn by its key."""
    return jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, count))(keys)


def completed(labels: Int[Array, " n"], keys: Key[Array, " n"], count: int) -> Int[Array, " n"]:
    """Classes to generate: those of the real images, and any one for an image without a label (-1)."""
    anyone = jax.vmap(lambda key: jax.random.randint(key, (), 0, count, labels.dtype))(keys)
    return jnp.where(labels < 0, anyone, labels)


def value_terms(value: Callable[[Table], adversarial.Value]) -> dict[str, dict[str, Term]]:
    """The terms of a game on scores, by player; its constants may lie on the table."""

    def discriminator(table: Table) -> jax.Array:
        real, fake = value(table).discriminator(table.real.score, table.fake.score)
        return real.mean() + fake.mean()

    def generator(table: Table) -> jax.Array:
        return value(table).generator(table.real.score, table.fake.score)

    return {"discriminator": {"value": discriminator}, "generator": {"value": generator}}


def more(terms: dict[str, dict[str, Term]], player: str, **added: Term) -> dict[str, dict[str, Term]]:
    """The terms with some of a player's replaced or added; a new name is a new player."""
    return terms | {player: terms.get(player, {}) | added}


def beside(schedule: Schedule, player: str, further: str) -> Schedule:
    """The schedule with a further player in each move of a player: both step from the same point."""
    return tuple((*movers, further) if player in movers else movers for movers in schedule)


def numbers(**values: float) -> Network:
    """A network that is some numbers: of a player who sets a weight or a probability."""

    def init(key: jax.Array) -> tuple[Params, Stats]:
        return {name: jnp.asarray(value, float) for name, value in values.items()}, {}

    return Network(init, lambda params, stats, train=False: (params, stats))


def _pay(terms: dict[str, Term], table: Table) -> tuple[jax.Array, dict[str, jax.Array]]:
    paid = {
        name: term(table._replace(keys=jax.vmap(jax.random.fold_in, (0, None))(table.keys, place))).mean()
        for place, (name, term) in enumerate(terms.items())
    }
    return sum(paid.values()), {name: amount for name, amount in paid.items() if name != "value"}
