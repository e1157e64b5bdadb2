"""What each choice about a BigGAN's round costs or gains: predicted from shapes, then measured, in turns.

    python experiments/biggan_optimizations.py              # CPU: 32 x 32, width 16, batches of 32
    python experiments/biggan_optimizations.py --batch 64   # GPU: 128 x 128, width 96, that batch for all

Each contender is the library's round with one thing changed; its time is told as a multiple of that of the round as it
is, the median over neighboring turns. Predicted is the same multiple before anything runs: on a known chip from
`vaegan plan` (products at 40 % of the peak, memory, in turn), elsewhere by counting the operations of products; what
neither counts, dispatches, feeding, averages and norms, is predicted to cost nothing. Beside it stand the bytes of
activations that the plan predicts.

On two cores what saves memory saves time, too, even where it computes more: rematerialized 0.95, in two micro-batches
0.86, in bfloat16 0.92; one round a dispatch costs 1.10.

Ten minutes on two CPU cores. Writes results/biggan_optimizations.json; notes_on_speed.md says what follows from it.
"""

import os
import statistics
from dataclasses import replace
from functools import partial
from typing import Any

import jax
from common import options, report
from throughput import Case, in_turns, library, put_together
from throughput_biggan import SMALL, large

from vaegan_jax.planning.chips import known
from vaegan_jax.planning.flops import count
from vaegan_jax.planning.memory import peak
from vaegan_jax.planning.roofline import seconds
from vaegan_jax.planning.tracing import trace
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import assemble

AS_IT_IS, ROUNDS, TURNS, UTILIZATION = "as it is", 4, 7, 0.4


def changed(config: RunConfig) -> dict[str, RunConfig]:
    """The round as it is, and with one thing changed each."""
    model, training = config.model, config.training
    return {
        AS_IT_IS: config,
        "1 round a dispatch": replace(config, training=replace(training, rounds_per_dispatch=1)),
        "data fed batch by batch": replace(config, training=replace(training, feeding="stream")),
        "no averages": replace(config, training=replace(training, ema_halflife_kimg=0.0)),
        "rematerialized": replace(config, model=replace(model, rematerialize=True)),
        "2 micro-batches": replace(config, training=replace(training, micro_batches=2)),
        "the other precision": replace(
            config, model=replace(model, precision={"float32": "bfloat16", "bfloat16": "float32"}[model.precision])
        ),
    }


def predicted(config: RunConfig, spec: Any) -> dict[str, float]:
    """Seconds of a round on a known chip, operations of its products, and bytes of activations, from shapes alone."""
    device = jax.devices()[0]
    traced = trace(config, spec, device.platform)
    program = traced.at(config.batch_size // config.training.micro_batches)
    told = {"operations": count(program).products, "activations": peak(program, cpu=device.platform == "cpu")}
    if chip := known(device.device_kind):
        told["seconds"] = seconds(program, chip, UTILIZATION, 0, 1).total
    return told


def measured(case: Case, turns: int) -> list[dict[str, Any]]:
    """Of each contender what was predicted and measured, as multiples of the round as it is."""
    experiment, source = put_together(case)
    contenders = changed(experiment.config)
    runs, before = {}, {}
    for name, config in contenders.items():
        before[name] = predicted(config, source.spec)
        run = library(assemble(config, source.spec), source)
        runs[name] = partial(run, ROUNDS // config.training.rounds_per_dispatch)
    in_turns(runs, 2)  # compiles, then settles
    times, _ = in_turns(runs, turns)
    rows = []
    for name in contenders:
        by = "seconds" if "seconds" in before[name] else "operations"
        ratios = [own / other for own, other in zip(times[name], times[AS_IT_IS], strict=True)]
        rows.append(
            {
                "changed": name,
                "predicted": before[name][by] / before[AS_IT_IS][by],
                "measured": statistics.median(ratios),
                "range": (min(ratios), max(ratios)),
                "activations": before[name]["activations"] / before[AS_IT_IS]["activations"],
                "milliseconds": 1000 * statistics.median(times[name]) / ROUNDS,
            }
        )
    return rows


def main() -> None:
    parser = options(__doc__, runs=False)
    parser.add_argument("--batch", type=int, default=64, help="on a GPU (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=TURNS, help="turns of each contender (default: %(default)s)")
    arguments = parser.parse_args()
    case = SMALL if jax.default_backend() == "cpu" else large(arguments.batch)
    case = case._replace(rounds=ROUNDS)
    rows = measured(case, arguments.turns)
    print(f"{'':25} {'predicted':>9} {'measured':>9} {'activations':>12}")
    for row in rows:
        low, high = row["range"]
        print(
            f"{row['changed']:25} {row['predicted']:9.2f} {row['measured']:9.2f} {row['activations']:12.2f}"
            f"   {low:.2f} to {high:.2f}, {row['milliseconds']:.0f} ms"
        )
    title = "biggan_optimizations" if jax.default_backend() == "cpu" else "biggan_optimizations_gpu"
    told = {"batch_size": case.batch_size, "turns": arguments.turns, "load_average": os.getloadavg()[1]}
    report(title, {"rows": rows, **told}, [0])


if __name__ == "__main__":
    main()
