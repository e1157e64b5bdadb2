"""Training beside PyTorch on a CPU: images a second of both, in turns.

    python experiments/throughput.py

Aim: on two CPU cores the library's training step, whole, as `vaegan train` runs it (data on the device, `--parallel
sharded`, averages, norms of gradients, the check for NaN), gives at least 1.5 times the images a second of an eager
PyTorch for the VAE of dense layers (784-500-20, batches of 128), and at least as many for a DCGAN (32x32x3, batches of
64), and for WGAN-GP, SNGAN (residual networks) and SAGAN (with classes), narrow ones in batches of 32.

The first two are missed: 1.44 and 0.81 times, the medians of the ratios of neighboring turns, and 1.34 and 0.82 by each
one's fastest turn. Why: of the VAE's 4.1 ms a round five large products of matrices take 2.9, as long in PyTorch, so
that 1.5 times would leave 0.9 ms for all else, Adam alone takes 0.3 (norms of gradients, 0.5 before they were measured
only in the rounds that are shown, are gone). The DCGAN's time is in its convolutions: without batch norms, norms and
averages a round takes as long. PyTorch's library for them runs near the cores' peak, XLA's at two thirds of it: over
all layers 1.24 (forward), 1.21 (input gradient) and 1.31 times (kernel gradient) PyTorch's time, the table below; only
for gradient penalties the library is ahead (0.71). Products of patches, taps or phases in place of the kernel
gradient's convolution were tried and are no faster.

WGAN-GP, SNGAN and SAGAN reach it beside eager PyTorch: 1.07, 1.10 and 1.04 times its images a second, medians on two
cores of a machine at a load of 1.4; single turns range from 0.9 to 1.4, so that the last is a tie. Beside the tuned one
they do not: 0.97, 0.86 and 0.84. Where the time goes: SNGAN's discriminator moves in 118 ms (PyTorch 141, tuned 101;
residual blocks halve within a convolution of stride 2, where the peers convolve and pool, as is usual), its generator
in 275 (208, 163). XLA keeps fewer threads busy: counted in processors' work, PyTorch's 1.3 to 1.4 times as much (tuned
1.1 to 1.2) for the same images, and on one core (`--cores 1`) 1.14, 1.45 and 1.30 times (tuned 1.13, 1.11, 1.13; at a
load of 13 to 14). One power iteration serves all applications of a move, as in the peers: XLA merges the equal ones.

`torch_peers.py` and `torch_networks.py` have the peers: the same layers, losses, Adam and moves, checked with the same
weights; "tuned" is PyTorch with its fused Adam and channels-last images. Compile times are told apart. Then each
player's move alone, and each layer, forward, both gradients and the gradient of a gradient penalty, say where the time
goes. About 20 minutes; writes results/throughput.json. Interrupted, it goes on where it was (runs/throughput). PyTorch:
pip install '.[peers]'
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import layers
import numpy as np
from common import RESULTS, options, report

from vaegan_jax.data import ArraySource, load
from vaegan_jax.games import play
from vaegan_jax.models import CONFIGS, gan, vae
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, Experiment, assemble, step_of
from vaegan_jax.training.feeding import feeder
from vaegan_jax.training.parallel import LIFTS, choose_devices, rounds
from vaegan_jax.training.run import provenance, write
from vaegan_jax.training.stopping import finite_values

SECONDS_OF_REST = 0.3
"""PyTorch's threads spin for a while after their work, on the cores of whoever comes next."""
SEED = 0
Times = dict[str, list[float]]
"""Of each turn, by contender."""


class Case(NamedTuple):
    """What is timed: a model, the side of its images, and how many dispatches of how many rounds make a turn."""

    model: Any
    side: int
    channels: int
    batch_size: int
    dispatches: int
    bar: float
    rounds: int = TrainingConfig.rounds_per_dispatch


CASES = {
    "vae 784-500-20, batch 128": Case(vae.Config(latent_size=20, hidden_sizes=(500,)), 28, 1, 128, 16, 1.5),
    "vae 784-512-512-10, batch 128": Case(vae.Config(), 28, 1, 128, 12, 1.5),
    "dcgan 32x32x3, width 64, batch 64": Case(gan.Config(), 32, 3, 64, 1, 1.0),
    "wgan-gp 32x32x3, width 32, batch 32": Case(CONFIGS["wgan-gp"](width=32), 32, 3, 32, 1, 1.0, 2),
    "sngan resnet 32x32x3, width 16, batch 32": Case(CONFIGS["sngan"]("resnet", width=16), 32, 3, 32, 1, 1.0, 4),
    "sagan 32x32x3, width 16, batch 32": Case(CONFIGS["sagan"](width=16), 32, 3, 32, 1, 1.0, 4),
}
DENSE = [(784, 500), (500, 40), (20, 500), (500, 784), (100, 4096)]


def images(case: Case) -> ArraySource:
    """The embedded clothes with a margin, if the case asks for one, in as many channels as it asks for."""
    margin = (case.side - 28) // 2
    clothes = load("fashion_mnist_small", "train").arrays
    framed = np.pad(clothes["image"], ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return ArraySource({"image": np.repeat(framed, case.channels, axis=3), "label": clothes["label"]}, "clothes")


def library(experiment: Experiment, source: ArraySource) -> Callable[[int], None]:
    """`dispatches -> None`, which trains that many dispatches and waits for them, as the training loop does."""
    config = experiment.config
    limit = config.training.rounds_per_dispatch
    lift = LIFTS[config.parallel](rounds(step_of(experiment), limit), choose_devices(config))
    fed = feeder(experiment, source)
    state, store, key, done = lift.place(first_state(experiment)), lift.place(fed.store), experiment.key(PLAY), 0

    def run(dispatches: int) -> None:
        nonlocal state, done
        pending = None
        for _ in range(dispatches):
            state, metrics = lift.step(state, fed.feed(limit), np.int32(limit), key, store)
            if pending:
                finite_values(experiment, *pending)
            pending, done = (done, limit, metrics), done + limit
        finite_values(experiment, *pending)

    return run


def in_turns(contenders: dict[str, Callable[[], None]], turns: int) -> tuple[Times, Times]:
    """Seconds of each turn of each contender, by the clock and of processors' work for this program's threads.

    A B C A B C ..., so that a noisy neighbor hits all alike.
    """
    times, worked = ({name: [] for name in contenders} for _ in range(2))
    for _ in range(turns):
        for name, run in contenders.items():
            time.sleep(SECONDS_OF_REST)
            begun, before = time.perf_counter(), time.process_time()
            run()
            times[name].append(time.perf_counter() - begun)
            worked[name].append(time.process_time() - before)
    return times, worked


def put_together(case: Case) -> tuple[Experiment, ArraySource]:
    """What is trained, and on which images."""
    source, training = images(case), TrainingConfig(rounds_per_dispatch=case.rounds)
    config = RunConfig(case.model, steps=10**9, batch_size=case.batch_size, seed=SEED, devices=1, training=training)
    return assemble(config, source.spec), source


def measure(case: Case, turns: int) -> dict[str, Any]:
    """Images a second of the whole step, seconds of the first call, and milliseconds of each move alone."""
    import torch_checks

    experiment, source = put_together(case)
    return race(case, experiment, source, torch_checks.checked_peers(experiment, source.arrays), turns)


def race(case: Case, experiment: Experiment, source: ArraySource, theirs: dict[str, Any], turns: int) -> dict[str, Any]:
    """The same for given peers."""
    import torch_peers

    ours, count = library(experiment, source), case.dispatches * case.rounds

    def torch_turn(peer: Any, number: int = count) -> None:
        for _ in range(number):
            loss = peer.round()
        float(loss)
        torch_peers.wait()

    contenders = {"library": partial(ours, case.dispatches)}
    contenders |= {name: partial(torch_turn, peer) for name, peer in theirs.items()}
    first = {"library": partial(ours, 1)} | {name: partial(torch_turn, peer, 1) for name, peer in theirs.items()}
    first_seconds = {name: seconds[0] for name, seconds in in_turns(first, 1)[0].items()}
    in_turns(contenders, 1)  # caches, allocators and clocks settle
    times, worked = in_turns(contenders, turns)
    seen = count * experiment.images_per_round
    ratios, of_work = (
        {name: [t / o for t, o in zip(taken[name], taken["library"], strict=True)] for name in theirs}
        for taken in (times, worked)
    )
    return {
        "images_per_second": {name: round(seen / statistics.median(taken)) for name, taken in times.items()},
        "ratio": {name: statistics.median(values) for name, values in ratios.items()},
        "ratio_of_fastest": {name: min(times[name]) / min(times["library"]) for name in theirs},
        "ratio_of_work": {name: statistics.median(values) for name, values in of_work.items()},
        "ratio_range": {name: (min(values), max(values)) for name, values in ratios.items()},
        "bar": case.bar,
        "first_call_seconds": first_seconds,
        "seconds": times,
        "worked_seconds": worked,
        **dict(zip(("moves_ms", "worked_moves_ms"), moves(experiment, source, theirs, turns), strict=True)),
        "turns": turns,
        "load_average": os.getloadavg()[1],
        "git": provenance()["git"],
    }


def moves(experiment: Experiment, source: ArraySource, theirs: dict[str, Any], turns: int) -> tuple[dict, dict]:
    """Median milliseconds of each move alone, one call a move, with its Adam: where the time of a round goes.

    By the clock, and of processors' work.
    """
    import torch_peers

    size, key, rows, of_work = experiment.config.batch_size, experiment.key(PLAY), {}, {}
    batch = {
        "image": np.float32(source.arrays["image"][:size] / 127.5 - 1)[None, None],
        "label": source.arrays["label"][:size].astype(np.int32)[None, None],
        "position": np.arange(size, dtype=np.int32)[None, None],
    }
    for player in experiment.game:
        step = jax.jit(play(experiment.game, ((player,),)), donate_argnums=0)
        held = {"state": first_state(experiment), "batch": jax.device_put(batch)}

        def ours(step=step, held=held):
            held["state"], metrics = step(held["state"], held["batch"], key)
            jax.block_until_ready(metrics)

        def torch_turn(peer, player=player):
            peer.move(player)
            torch_peers.wait()

        runs = {"library": ours} | {name: partial(torch_turn, peer) for name, peer in theirs.items()}
        in_turns(runs, 1)
        for table, taken in zip((rows, of_work), in_turns(runs, 2 * turns), strict=True):
            table[player] = {who: 1000 * statistics.median(seconds) for who, seconds in taken.items()}
    return rows, of_work


def by_layer(repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of DCGAN's convolutions (batch 64, `layers.py`) and of dense layers (batch 128)."""
    rows = []
    for layer in layers.LAYERS:
        rows += [row | {"batch_size": 64} for row in layers.measure(layer, 64, repeats)]
    generator = np.random.default_rng(SEED)
    for shape in DENSE:
        x, kernel, cotangent = (
            generator.normal(size=size).astype(np.float32) for size in ((128, shape[0]), shape, (128, shape[1]))
        )
        apply = lambda x, kernel: x @ kernel  # noqa: E731
        both = {"ours": layers.in_jax(apply, x, kernel, cotangent)}
        both["torch"] = layers.in_torch(apply, x, kernel, cotangent)
        for index, name in enumerate(layers.MEASURES):
            turns = {contender: runs[index] for contender, runs in both.items()}
            for run in turns.values():
                run()
            row = {"layer": f"dense {shape[0]} -> {shape[1]}", "measure": name}
            rows.append(row | layers.medians(turns, 3 * repeats) | {"batch_size": 128})
    return rows


def show(name: str, row: dict[str, Any]) -> None:
    """Prints a case's numbers."""
    speeds = "  ".join(f"{who} {speed:,}" for who, speed in row["images_per_second"].items())
    ratio, (low, high) = row["ratio"]["torch"], row["ratio_range"]["torch"]
    print(f"{name}\n  images/s: {speeds}")
    tuned = row["ratio"]["torch, tuned"]
    print(f"  {ratio:.2f}x PyTorch ({low:.2f} to {high:.2f}; bar {row['bar']}), {tuned:.2f}x PyTorch tuned")
    if "ratio_of_work" in row:
        work = {who: round(times, 2) for who, times in row["ratio_of_work"].items()}
        print(f"  by processors' work: {work}; load {row['load_average']:.1f}")
    print(f"  fastest turns: { {who: round(times, 2) for who, times in row['ratio_of_fastest'].items()} }")
    print(f"  first call, s: { {who: round(seconds, 1) for who, seconds in row['first_call_seconds'].items()} }")
    for title in ("moves_ms", "worked_moves_ms"):
        for move, times in row.get(title, {}).items():
            print(f"  {move}, {title}: { {who: round(ms, 1) for who, ms in times.items()} }", flush=True)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--turns", type=int, default=9, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--only", nargs="*", default=[""], help="cases that begin so; the others' results stay")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="how many to use (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        import torch
        import torch_peers
    except ImportError:
        raise SystemExit("throughput: PyTorch is missing; install it with: pip install 'vaegan_jax[peers]'") from None
    folder, few = arguments.runs / "throughput", arguments.cores < os.cpu_count()
    if few:  # before JAX makes its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    torch.set_num_threads(arguments.cores)
    work = {name: partial(measure, case, arguments.turns) for name, case in CASES.items()}
    work |= {"layers": partial(by_layer, arguments.turns)}
    parts = {}
    for name in (name for name in work if name.startswith(tuple(arguments.only))):
        told = f"{name}, cores {arguments.cores}" if few else name
        kept = folder / f"{told.replace(' ', '-')}.json"  # remove it, and the case is measured again
        if not kept.exists():
            write(kept, json.dumps(work[name]()))
        parts[told] = json.loads(kept.read_text())
    tell(parts, {"torch": torch.__version__}, torch_peers.device_name())
    print("written: results/throughput.json; to measure again, remove files of", folder)


def tell(parts: dict[str, Any], versions: dict[str, str], device: str) -> None:
    """Prints what was measured and writes it, beside the results that are there already."""
    before = RESULTS / "throughput.json"
    results = json.loads(before.read_text()) if before.exists() else {"cases": {}, "layers": []}
    rows = parts.pop("layers", None)
    for name, row in parts.items():
        show(name, row)
    for row in rows or []:
        print(layers.line({"lax": float("nan")} | row))
    told = {"cases": results["cases"] | parts, "layers": rows or results["layers"]}
    report("throughput", told, [SEED], versions=versions, machine={"torch_device": device})


if __name__ == "__main__":
    main()
