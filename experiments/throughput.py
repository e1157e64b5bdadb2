"""Training beside PyTorch on a CPU: images a second of both, in turns.

    python experiments/throughput.py

Aim: on two CPU cores the library's training step, whole, as `vaegan train` runs it (data on the device, `--parallel
sharded`, averages, norms of gradients, the check for NaN), gives at least 1.5 times the images a second of an eager
PyTorch for the VAE of dense layers (784-500-20, batches of 128), and at least as many for a DCGAN (32x32x3, batches of
64). Both are missed: 1.44 and
0.81 times, the medians of the ratios of neighboring turns, and 1.34 and 0.82 by each one's fastest turn, on an idle
machine. Why: of the VAE's 4.1 ms a round five large products of matrices take 2.9, as long in PyTorch, so that 1.5
times would leave 0.9 ms for all else, Adam alone takes 0.3 (norms of gradients, 0.5 before they were measured only in
the rounds that are shown, are gone). The DCGAN's time is in its convolutions: without batch norms, norms and averages a
round takes as long. PyTorch's library for them runs near the cores' peak, XLA's at two thirds of it: over all layers
1.24 (forward), 1.21 (input gradient) and 1.31 times (kernel gradient) PyTorch's time, the table below; only for
gradient penalties the library is ahead (0.71). Products of patches, taps or phases in place of the kernel gradient's
convolution were tried and are no faster.

`torch_peers.py` has the peers: the same layers, losses, Adam and moves, checked with the same weights; "tuned" is
PyTorch with its fused Adam and channels-last images. Compile times are told apart. Then each player's move alone, and
each layer, forward, both gradients and the gradient of a gradient penalty, say where the time goes. About 10 minutes;
writes results/throughput.json. Interrupted, it goes on where it was (runs/throughput). PyTorch: pip install '.[peers]'
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
from common import options, report

from vaegan_jax.data import ArraySource, load
from vaegan_jax.games import play
from vaegan_jax.models import gan, name_of, vae
from vaegan_jax.networks.dcgan import sides
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import PLAY, Experiment, assemble, first_state, step_of
from vaegan_jax.training.feeding import feeder
from vaegan_jax.training.parallel import LIFTS, choose_devices, rounds
from vaegan_jax.training.run import write
from vaegan_jax.training.stopping import finite_values

SECONDS_OF_REST = 0.3
"""PyTorch's threads spin for a while after their work, on the cores of whoever comes next."""
SEED = 0


class Case(NamedTuple):
    """What is timed: a model, the side of its images, and how many dispatches make a turn."""

    model: Any
    side: int
    channels: int
    batch_size: int
    dispatches: int
    bar: float


CASES = {
    "vae 784-500-20, batch 128": Case(vae.Config(latent_size=20, hidden_sizes=(500,)), 28, 1, 128, 16, 1.5),
    "vae 784-512-512-10, batch 128": Case(vae.Config(), 28, 1, 128, 12, 1.5),
    "dcgan 32x32x3, width 64, batch 64": Case(gan.Config(), 32, 3, 64, 1, 1.0),
}
DENSE = [(784, 500), (500, 40), (20, 500), (500, 784), (100, 4096)]


def images(case: Case) -> ArraySource:
    """The embedded clothes with a margin, if the case asks for one, in as many channels as it asks for."""
    margin = (case.side - 28) // 2
    clothes = load("fashion_mnist_small", "train").arrays["image"]
    framed = np.pad(clothes, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return ArraySource({"image": np.repeat(framed, case.channels, axis=3)}, "clothes")


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


def peers(experiment: Experiment, source: ArraySource) -> dict[str, Any]:
    """PyTorch's contenders, with as many parameters as ours and, for the same weights, the same outputs."""
    import torch
    import torch_peers

    torch.manual_seed(SEED)
    config, shape = experiment.config, source.spec.image_shape
    kind, more = torch_peers.VAE, {}
    if name_of(config.model) == "gan":
        kind, more = torch_peers.GAN, {"keep": 0.5 ** (config.batch_size / (1000 * config.training.ema_halflife_kimg))}
    made = {
        name: kind(config.model, shape, source.arrays["image"], config.batch_size, tuned, **more)
        for name, tuned in (("torch", False), ("torch, tuned", True))
    }
    for peer in made.values():
        check(experiment, source, peer)
    return made


def check(experiment: Experiment, source: ArraySource, peer: Any) -> None:
    """Stops where sizes or, with our weights, outputs of a peer's networks differ from ours."""
    import torch
    import torch_peers

    config, state = experiment.config.model, first_state(experiment)
    networks = experiment.model.networks(config, experiment.spec)
    smallest = sides(source.spec.image_shape)[-1] if name_of(config) == "gan" else None
    real = peer.images[:16]
    for name, params in state.params.items():
        module, ours = peer.networks[name], sum(leaf.size for leaf in jax.tree.leaves(params))
        theirs = sum(parameter.numel() for parameter in module.parameters())
        if ours != theirs:
            raise SystemExit(f"throughput: {name} has {ours} parameters, PyTorch's {theirs}")
        torch_peers.load(module, params, smallest)
        reads_images = name in ("encoder", "discriminator")
        given = real if reads_images else torch.randn(16, config.latent_size, device=torch_peers.DEVICE)
        inputs = given.permute(0, 2, 3, 1) if reads_images else given
        expected, _ = networks[name].apply(params, state.stats[name], inputs.cpu().numpy(), train=True)
        with torch.no_grad():
            result = module(given).reshape(len(given), -1, *source.spec.image_shape[:2]) if not reads_images else None
            result = module(given) if reads_images else result.permute(0, 2, 3, 1)
        if np.abs(result.cpu().numpy() - expected).max() > 1e-3 * np.abs(expected).max():
            raise SystemExit(f"throughput: the output of {name} differs from PyTorch's")


def in_turns(contenders: dict[str, Callable[[], None]], turns: int) -> dict[str, list[float]]:
    """Seconds of each turn of each contender; A B C A B C ..., so that a noisy neighbor hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, run in contenders.items():
            time.sleep(SECONDS_OF_REST)
            begun = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begun)
    return times


def measure(case: Case, turns: int) -> dict[str, Any]:
    """Images a second of the whole step, seconds of the first call, and milliseconds of each move alone."""
    import torch_peers

    source = images(case)
    config = RunConfig(case.model, steps=10**9, batch_size=case.batch_size, seed=SEED, devices=1)
    experiment = assemble(config, source.spec)
    ours, theirs = library(experiment, source), peers(experiment, source)
    count = case.dispatches * config.training.rounds_per_dispatch

    def torch_turn(peer: Any, number: int = count) -> None:
        for _ in range(number):
            losses = [move() for move in peer.moves.values()]
        float(losses[-1])
        torch_peers.wait()

    contenders = {"library": partial(ours, case.dispatches)}
    contenders |= {name: partial(torch_turn, peer) for name, peer in theirs.items()}
    first = {"library": partial(ours, 1)} | {name: partial(torch_turn, peer, 1) for name, peer in theirs.items()}
    first_seconds = {name: seconds[0] for name, seconds in in_turns(first, 1).items()}
    in_turns(contenders, 1)  # caches, allocators and clocks settle
    times = in_turns(contenders, turns)
    seen = count * experiment.images_per_round
    ratios = {name: [t / o for t, o in zip(times[name], times["library"], strict=True)] for name in theirs}
    return {
        "images_per_second": {name: round(seen / statistics.median(taken)) for name, taken in times.items()},
        "ratio": {name: statistics.median(values) for name, values in ratios.items()},
        "ratio_of_fastest": {name: min(times[name]) / min(times["library"]) for name in theirs},
        "ratio_range": {name: (min(values), max(values)) for name, values in ratios.items()},
        "bar": case.bar,
        "first_call_seconds": first_seconds,
        "seconds": times,
        "moves_ms": moves(experiment, source, theirs, turns),
    }


def moves(experiment: Experiment, source: ArraySource, theirs: dict[str, Any], turns: int) -> dict[str, dict]:
    """Median milliseconds of each move alone, one call a move, with its Adam: where the time of a round goes."""
    import torch_peers

    size, key, rows = experiment.config.batch_size, experiment.key(PLAY), {}
    batch = {
        "image": np.float32(source.arrays["image"][:size] / 127.5 - 1)[None, None],
        "position": np.arange(size, dtype=np.int32)[None, None],
    }
    for player in next(iter(theirs.values())).moves:
        step = jax.jit(play(experiment.game, ((player,),)), donate_argnums=0)
        held = {"state": first_state(experiment), "batch": jax.device_put(batch)}

        def ours(step=step, held=held):
            held["state"], metrics = step(held["state"], held["batch"], key)
            jax.block_until_ready(metrics)

        def torch_turn(peer, player=player):
            peer.moves[player]()
            torch_peers.wait()

        runs = {"library": ours} | {name: partial(torch_turn, peer) for name, peer in theirs.items()}
        for run in runs.values():
            run()
        rows[player] = layers.medians(runs, 3 * turns)
    return rows


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
    print(f"  fastest turns: { {who: round(times, 2) for who, times in row['ratio_of_fastest'].items()} }")
    print(f"  first call, s: { {who: round(seconds, 1) for who, seconds in row['first_call_seconds'].items()} }")
    for move, times in row["moves_ms"].items():
        print(f"  {move}, ms: { {who: round(ms, 1) for who, ms in times.items()} }", flush=True)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--turns", type=int, default=9, help="turns of each contender (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        import torch
        import torch_peers
    except ImportError:
        raise SystemExit("throughput: PyTorch is missing; install it with: pip install 'vaegan_jax[peers]'") from None
    torch.set_num_threads(os.cpu_count())
    folder, parts = arguments.runs / "throughput", {}
    work = {name: partial(measure, case, arguments.turns) for name, case in CASES.items()}
    for number, (name, run) in enumerate((work | {"layers": partial(by_layer, arguments.turns)}).items()):
        kept = folder / f"part-{number}.json"
        if not kept.exists():
            write(kept, json.dumps(run()))
        parts[name] = json.loads(kept.read_text())
        if name != "layers":
            show(name, parts[name])
    rows = parts.pop("layers")
    for row in rows:
        print(layers.line({"lax": float("nan")} | row))
    facts = {"versions": {"torch": torch.__version__}}
    facts["machine"] = {"torch_device": torch_peers.device_name(), "torch_threads": torch.get_num_threads()}
    report("throughput", {"cases": parts, "layers": rows, "turns": arguments.turns}, [SEED], **facts)
    print("written: results/throughput.json; to measure again, remove", folder)


if __name__ == "__main__":
    main()
