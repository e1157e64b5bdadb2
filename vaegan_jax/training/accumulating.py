"""What becomes of a batch that is computed in micro-batches: where it stays one batch, and where each part is alone.

The field of a batch in parts is the mean of theirs (`games.play`), each evaluated at the same point, with the same
incoming statistics and spectral vectors, and noise by the example's place in the whole batch. So it is the field of the
whole batch, up to the order of sums, wherever a loss is a mean over examples: all values of a single score, penalties
of single slopes, class terms, consistency, averages of scores (LeCam), the balance of BEGAN and the p of ADA. What
mixes examples is another thing:

- Batch norms are those of a part, "ghost" batch norms (Hoffer et al. 2017, arXiv 1705.08741); running statistics are
  means over the parts, in which the variance between the parts is missing. A run says so wherever it tells of itself.
- What else mixes is refused: each part would quietly play another game.

Metrics are means over the parts, too: of one that is no mean over examples (BEGAN's convergence), another number.
"""

from collections.abc import Mapping
from typing import Any

from vaegan_jax.errors import check
from vaegan_jax.training.config import RunConfig

MIXING = {
    ("value", "relativistic-average"): "value relativistic-average compares with the mean score",
    ("value", "coulomb"): "the potential of a Coulomb GAN is that",
    ("minibatch", "discrimination"): "minibatch discrimination compares with the other examples",
    ("minibatch", "deviation"): "minibatch deviation is that",
    ("penalty", "dragan"): "penalty dragan scales its noise by the deviation",
    ("penalty", "max-gradient"): "penalty max-gradient takes the steepest slope",
}
"""Fields of a model and their values for which examples are mixed, and how: "... of the batch"."""


def refuse_mixing(config: RunConfig) -> None:
    """UserError for what mixes the examples of a batch, and is no batch norm, where a batch comes in parts."""
    parts, model = config.training.micro_batches, config.model
    if parts == 1:
        return
    reasons = [told for (name, value), told in MIXING.items() if getattr(model, name, None) == value]
    if getattr(getattr(model, "techniques", None), "feature_matching", 0):
        reasons.append("feature-matching compares mean features")
    if getattr(model, "pulling_away", 0):
        reasons.append("pulling-away compares the codes")
    if config.labels:
        reasons.append(f"labels {config.labels} weighs the labeled examples by their share")
    told = f"micro-batches {parts}: {''.join(reasons[:1])} of the batch, and a micro-batch is only a part of it"
    check(not reasons, f"{told}: use micro-batches 1")


def ghost(config: RunConfig, stats: Mapping[str, Any]) -> str:
    """How many examples the batch norms see, where it is not the whole batch; "" where it is, or there are none."""
    parts = config.training.micro_batches
    normed = any(isinstance(tree, Mapping) and tree.get("batch_stats") for tree in stats.values())
    examples = config.batch_size // parts
    return f"ghost batch norm of {examples:,} of {config.batch_size:,} examples" if parts > 1 and normed else ""
