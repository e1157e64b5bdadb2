"""A network as a pair of pure functions: the one form in which games see linen modules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from vaegan_jax.games import Params, Stats
from vaegan_jax.networks import spectral


class Network(NamedTuple):
    """`init(key) -> (params, stats)` and `apply(params, stats, *inputs, train) -> (output, stats)`, both pure."""

    init: Callable[[jax.Array], tuple[Any, Any]]
    apply: Callable[..., tuple[Any, Any]]


def pure(module: nn.Module, *examples: jax.ShapeDtypeStruct, dtype: DTypeLike | None = None) -> Network:
    """The pair of a module whose `__call__(*inputs, train)` takes inputs shaped like `examples`.

    `dtype`, bfloat16 for instance, is that of products and activations: what comes in is cast to it at the door, and
    what goes out to at least float32. So a slope by an image leaves the network as float32, too. Parameters and stats
    keep their types, and layers take in at least float32 what needs it. By default nothing is cast.
    """

    def init(key: jax.Array) -> tuple[Any, Any]:
        variables = dict(module.lazy_init(key, *examples, train=True))
        return variables.pop("params", {}), variables

    def apply(params: Any, stats: Any, *inputs: ArrayLike | None, train: bool = False) -> tuple[Any, Any]:
        output, changed = module.apply(
            {"params": params, **stats}, *_cast(inputs, dtype), train=train, mutable=list(stats) if train else []
        )
        return _cast(output, dtype, at_least=jnp.float32), stats | dict(changed)

    return Network(init, apply)


def held(stats: Any, incoming: Any, collection: str = spectral.COLLECTION) -> Any:
    """A network's stats with one collection as it came in, for the next apply of the same move.

    A loss threads its batch statistics through its applies, `_, stats = apply(params, held(stats, incoming), ...)`; all
    of these then have the same spectral vectors, and return the same next ones: one power iteration a move.
    """
    return stats | {collection: incoming[collection]} if collection in incoming else stats


def init_networks(networks: dict[str, Network], key: jax.Array) -> tuple[Params, Stats]:
    """Parameters and stats of all networks; each has its own key, by its place in the alphabet."""
    made = {name: networks[name].init(jax.random.fold_in(key, place)) for place, name in enumerate(sorted(networks))}
    return {name: params for name, (params, _) in made.items()}, {name: stats for name, (_, stats) in made.items()}


def _cast(tree: Any, dtype: DTypeLike | None, at_least: DTypeLike | None = None) -> Any:
    """The float leaves as `dtype`, or as the wider of their own type and `at_least`; all as they are without dtype."""
    if dtype is None:
        return tree

    def cast(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return leaf.astype(dtype if at_least is None else jnp.promote_types(leaf.dtype, at_least))

    return jax.tree.map(cast, tree)
