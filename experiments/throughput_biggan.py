"""BigGAN beside PyTorch: images a second of training and of sampling, memory, and how much of the chip's rate is used.

    python experiments/throughput_biggan.py                 # CPU: 32 x 32, width 16, batches of 32, float32
    python experiments/throughput_biggan.py                 # GPU: 128 x 128, width 96, bfloat16
    python experiments/throughput_biggan.py --batch 256     # that batch for all, on a GPU

Aim: on a CPU at least as many images a second as PyTorch with the same networks, losses, Adam and averages has at its
best (channels-last, fused Adam, and torch.compile where it works); on a GPU, with autocast to bfloat16, 1.5 times as
many, and 40 % of the rate at which the same chip multiplies large matrices. Turns are taken one after the other, so
that a noisy neighbor hits all alike; ratios are medians of neighboring turns.

A round is two moves of the discriminator and one of the generator, whole, as `vaegan train` runs it. Its operations,
two for a multiplication and addition, are counted by `vaegan_jax.planning` for the library, and taken for PyTorch's as
well. The peers are checked first: same weights,
same losses and slopes. On a GPU each side is first timed alone, in processes of its own, with batches that double until
one does not fit: speed and peak memory at the largest are what the aims are held against. The race, in which all lie
beside each other, is at a quarter of the smallest of these. There a profile says which kinds of operations the
library's time goes into; on a CPU each player's move alone is timed. No GPU has been measured yet.
On a CPU the library has a virtual device for each core, as `vaegan train --devices N` has. On two cores it is then at
1.61 times eager PyTorch (1.50 to 2.33), 1.30 times the tuned one and 1.20 times the compiled one (1.12 to 1.82; medians
and ranges of 7 turns); on one device it takes 1.35 times as long; notes_on_speed.md says why.

Six minutes on two CPU cores. Writes results/throughput_biggan.json. PyTorch: pip install '.[peers]', on a GPU
'.[cuda,peers]'.
"""

import json
import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # both sides share the memory
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")  # as PyTorch, which takes what there is

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import options, report, tell
from profiling import operations, shares
from throughput import SEED, Case, in_turns, library, put_together, race, show

from vaegan_jax.errors import UserError
from vaegan_jax.models import biggan
from vaegan_jax.planning.flops import count
from vaegan_jax.planning.tracing import trace
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.experiment import Experiment

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SMALL = Case(biggan.Config(width=16, latent_size=80), 32, 3, 32, 1, 1.0, 2)
LARGEST, MATRIX, TURNS = 4096, 8192, 7
"""The largest batch that is tried; sides of the matrices that a GPU multiplies for its rate (2,048 on a CPU)."""
LIBRARY, TUNED, COMPILED = "library", "torch, tuned", "torch, compiled"


def large(batch_size: int) -> Case:
    """The paper's network for 128 pixels, in bfloat16."""
    return Case(biggan.Config(precision="bfloat16"), 128, 3, batch_size, 1, 1.5, 4)


def on_all_cores(case: Case) -> tuple[Experiment, Any]:
    """The library's side: on a CPU a virtual device for each core that divides the batch, as `--devices N` has it."""
    experiment, source = put_together(case)
    devices = 1
    if jax.default_backend() == "cpu":
        devices = max(n for n in range(1, CORES + 1) if case.batch_size % n == 0)
    return experiment._replace(config=replace(experiment.config, devices=devices)), source


def one_device(experiment: Experiment, source: Any, turns: int) -> dict[str, float]:
    """How much longer the same rounds take on one device of a CPU; by neighboring turns."""
    if experiment.config.devices == 1:
        return {}
    single = experiment._replace(config=replace(experiment.config, devices=1))
    contenders = {"one": library(single, source), "all": library(experiment, source)}
    for run in contenders.values():
        run(1)
    times, _ = in_turns({name: partial(run, 2) for name, run in contenders.items()}, turns)
    return {"one_device_over_all": statistics.median(a / b for a, b in zip(times["one"], times["all"], strict=True))}


def alone(side: str, case: Case, turns: int = 3) -> dict[str, float]:
    """Speed and peak memory of one side, in this process, which does nothing else.

    Fails as that side fails where memory is short.
    """
    experiment, source = on_all_cores(case)
    begun = time.perf_counter()
    if side == LIBRARY:
        turn = library(experiment, source)
    else:
        import torch_peers

        peer = (compiled if side == COMPILED else tuned)(experiment, source.arrays)

        def turn(dispatches: int) -> None:
            for _ in range(dispatches * case.rounds):
                peer.round()
            torch_peers.wait()

    turn(1)
    first, seconds = time.perf_counter() - begun, []
    for _ in range(turns):
        begun = time.perf_counter()
        turn(case.dispatches)
        seconds.append(time.perf_counter() - begun)
    seen = case.dispatches * case.rounds * experiment.images_per_round
    return {
        "batch_size": case.batch_size,
        "images_per_second": seen / statistics.median(seconds),
        "until_first_dispatch_seconds": first,
        "peak_bytes": memory().get(LIBRARY if side == LIBRARY else "torch", 0),
    }


def largest(side: str) -> dict[str, float]:
    """What `alone` measures at the largest power of two that fits, of 32 to `LARGEST`, each in a process of its own."""
    size, found = 32, {}
    # PyTorch's takes only its first weights from JAX, which are to lie elsewhere.
    environment = os.environ | ({} if side == LIBRARY else {"JAX_PLATFORMS": "cpu"})
    while size <= LARGEST:
        command = [sys.executable, __file__, "--alone", side, "--batch", str(size)]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment)
        if ran.returncode:
            print(f"{side} does not hold {size}: {(ran.stderr.strip().splitlines() or ['no word'])[-1]:.200}")
            break
        found = json.loads(ran.stdout.splitlines()[-1])
        print(f"{side}: {found}", flush=True)
        size *= 2
    return found


def tuned(experiment: Experiment, arrays: dict[str, np.ndarray]) -> Any:
    """The tuned peer with our first weights."""
    import torch
    import torch_checks
    import torch_peers

    torch.manual_seed(SEED)
    peer, state = torch_peers.GAN(experiment, arrays, tuned=True), first_state(experiment)
    torch_checks.take(peer, state.params, state.stats)
    return peer


def compiled(experiment: Experiment, arrays: dict[str, np.ndarray]) -> Any:
    """The tuned peer under torch.compile."""
    peer = tuned(experiment, arrays)
    for network in peer.networks.values():
        network.compile()
    return peer


def compiled_if_it_works(experiment: Experiment, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], float]:
    """The compiled peer, if it gets through a round with the loss that the tuned one has, and how long that took."""
    import torch

    expected = tuned(experiment, arrays)
    torch.manual_seed(SEED + 1)
    expected = float(expected.round())
    begun = time.perf_counter()
    try:
        peer = compiled(experiment, arrays)
        torch.manual_seed(SEED + 1)
        found = float(peer.round())
    except Exception as error:  # whatever its compiler trips over is a result, not a reason to stop
        print(f"torch.compile does not work here: {(str(error) or repr(error)).splitlines()[0]}")
        return {}, 0.0
    if not abs(found - expected) <= 0.05 * max(abs(expected), 1):  # bfloat16 rounds otherwise where it is fused
        print(f"torch.compile computes something else: a loss of {found} in place of {expected}")
        return {}, 0.0
    return {COMPILED: peer}, time.perf_counter() - begun


def matrix_rate() -> float:
    """Operations a second of a product of large matrices, the best of 5: bfloat16 on a GPU, float32 on a CPU."""
    gpu = jax.default_backend() != "cpu"
    side = MATRIX if gpu else 2048
    x = jax.random.normal(jax.random.key(SEED), (side, side), jnp.bfloat16 if gpu else jnp.float32)
    product, seconds = jax.jit(lambda x: x @ x), []
    for _ in range(6):
        begun = time.perf_counter()
        product(x).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / min(seconds[1:])


def sampling(experiment: Experiment, peers: dict[str, Any], count: int, turns: int) -> dict[str, float]:
    """Images a second of each side's generator, with its running statistics, `count` at a time."""
    import torch
    import torch_peers

    model, spec, state = experiment.config.model, experiment.spec, first_state(experiment)
    z, labels = np.random.default_rng(SEED).normal(size=(count, model.latent_size)).astype(np.float32), None
    draw = jax.jit(partial(experiment.model.generate, model, spec))

    def ours() -> None:
        draw(state.params, state.stats, z).block_until_ready()

    labels = torch.nn.functional.one_hot(torch.arange(count) % spec.classes, spec.classes).float()

    def theirs(peer: Any) -> None:
        with torch.no_grad(), torch.autocast(torch_peers.DEVICE, torch.bfloat16, enabled=peer.half):
            peer.networks["generator"].eval()
            peer.fake(torch.tensor(z, device=torch_peers.DEVICE), labels.to(torch_peers.DEVICE))
            peer.networks["generator"].train()
        torch_peers.wait()

    runs: dict[str, Callable[[], None]] = {LIBRARY: ours}
    runs |= {name: partial(theirs, peer) for name, peer in peers.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            times[name] += [time.perf_counter() - begun] * (turn > 0)
    return {name: count / statistics.median(seconds) for name, seconds in times.items()}


def memory() -> dict[str, int]:
    """Peak bytes that each side has held on the device; none on a CPU, which does not tell."""
    import torch

    told = jax.devices()[0].memory_stats() or {}
    return ({LIBRARY: told["peak_bytes_in_use"]} if "peak_bytes_in_use" in told else {}) | (
        {"torch": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {}
    )


def profile(experiment: Experiment, source: Any) -> dict[str, float]:
    """The share of the library's time by kind of operation, over two dispatches; on a CPU nothing."""
    if jax.default_backend() == "cpu":
        return {}
    run = library(experiment, source)
    run(1)
    return shares(operations(lambda: run(2)))


def measure(case: Case, turns: int) -> dict[str, Any]:
    """All numbers of a case."""
    import torch_checks

    experiment, source = on_all_cores(case)
    peers = torch_checks.checked_peers(experiment, source.arrays)
    gpu = jax.default_backend() != "cpu"
    more, seconds_to_compile = compiled_if_it_works(experiment, source.arrays)
    peers |= more
    row = race(case, experiment, source, peers, turns)
    row["first_call_seconds"] |= {COMPILED: seconds_to_compile} if seconds_to_compile else {}
    flops = count(trace(experiment.config, experiment.spec, "gpu" if gpu else "cpu").at(case.batch_size)).products
    rate = matrix_rate()
    seconds = {
        name: statistics.median(taken) / (case.dispatches * case.rounds) for name, taken in row["seconds"].items()
    }
    return row | {
        "batch_size": case.batch_size,
        "operations_a_round": flops,
        "operations_an_image": flops / experiment.images_per_round,
        "profile": profile(experiment, source),
        "matrix_rate": rate,
        "devices": experiment.config.devices,
        **one_device(experiment, source, turns),
        "share_of_matrix_rate": {name: flops / taken / rate for name, taken in seconds.items()},
        "samples_per_second": sampling(experiment, peers, case.batch_size, turns),
        "peak_bytes": memory(),
    }


def main() -> None:
    parser = options(__doc__, runs=False)
    parser.add_argument("--batch", type=int, default=0, help="on a GPU; 0: the largest that both sides can hold")
    parser.add_argument("--turns", type=int, default=TURNS, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--alone", choices=(LIBRARY, TUNED, COMPILED), help="only one side, at a batch, as JSON")
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", CORES)
    try:
        import torch
        import torch_peers
    except ImportError:
        raise SystemExit("throughput_biggan: PyTorch is missing: pip install 'vaegan_jax[peers]'") from None
    if arguments.alone:
        case = large(arguments.batch) if arguments.batch else SMALL
        print(json.dumps(alone(arguments.alone, case)))
        return
    gpu, apart = jax.default_backend() != "cpu", {}
    if gpu != torch.cuda.is_available():
        where = f"JAX computes on {jax.default_backend()} and PyTorch on {torch_peers.DEVICE}"
        mend = "pip install '.[cuda,peers]' brings both to a GPU, JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES= to the CPU"
        raise SystemExit(f"throughput_biggan: {where}: {mend}")
    if gpu and not arguments.batch:
        apart = {side: largest(side) for side in (LIBRARY, TUNED, COMPILED)}
        if not (apart[LIBRARY] and apart[TUNED]):
            raise SystemExit("throughput_biggan: not even 32 images fit on both sides: see above, or give --batch")
    # In the race all contenders' states and pools lie beside each other: a quarter of what each can hold alone.
    size = arguments.batch or max(min(int(row["batch_size"]) for row in apart.values() if row) // 4, 8) if gpu else 0
    try:
        row = measure(large(size) if gpu else SMALL, arguments.turns) | {"at_the_largest_batch": apart}
    except UserError as error:
        raise SystemExit(f"throughput_biggan: {error}") from None
    name = f"biggan {'128x128x3, width 96, bfloat16' if gpu else '32x32x3, width 16'}, batch {row['batch_size']}"
    show(name, row)
    if "one_device_over_all" in row:
        print(f"  on {row['devices']} devices; on one it takes {row['one_device_over_all']:.2f} times as long")
    for title in ("share_of_matrix_rate", "samples_per_second", "peak_bytes", "profile"):
        print(f"  {title}: { {who: round(value, 3) for who, value in row[title].items()} }")
    machine = {"torch_device": torch_peers.device_name()}
    title = "throughput_biggan_gpu" if gpu else "throughput_biggan"  # each keeps the other's
    report(title, {"cases": {name: row}}, [SEED], versions={"torch": torch.__version__}, machine=machine)
    best, share = min(row["ratio"].values()), 0.0
    if apart:  # each at the largest batch that it holds
        speeds = {side: found["images_per_second"] for side, found in apart.items() if found}
        best = speeds.pop(LIBRARY) / max(speeds.values())
        share = apart[LIBRARY]["images_per_second"] * row["operations_an_image"] / row["matrix_rate"]
        print(f"  at its largest batch each: {best:.2f} times PyTorch's best, {share:.1%} of the matrix rate")
    claims = {f"at least {row['bar']} times PyTorch's images a second, at its best": best >= row["bar"]}
    claims |= {"40 % of the chip's matrix rate": (share or row["share_of_matrix_rate"][LIBRARY]) >= 0.4} if gpu else {}
    tell(claims)


if __name__ == "__main__":
    main()
