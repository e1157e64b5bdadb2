"""Where the time of a compiled program goes on an accelerator, by kind of operation, from JAX's own profiler.

On a CPU it does not tell: what XLA hands to its threads is timed now as the work and now as the handing over.
"""

import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax

KINDS = {
    "convolutions": ("convolution", "conv_general_dilated", "cudnn"),
    "casts": ("convert",),
    "products of matrices": ("dot", "gemm", "matmul", "cublas", "triton_gemm"),
    "messages": ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective", "nccl"),
    "copies": ("copy", "transpose", "bitcast", "memcpy", "memset", "slice", "concatenate", "pad", "gather", "scatter"),
    "sums": ("reduce", "input_reduce"),
    "random numbers": ("rng", "threefry"),
    "by element": ("fusion", "wrapped", "loop"),
}
"""Kinds by words in an operation's name, the first that fits. A fusion is named after its last operations: one that
ends in a sum counts as sums."""
AROUND = ("while", "call", "conditional", "end: ")
"""Operations that are made of others, and marks that take no time."""


def operations(run: Callable[[], object]) -> Counter[str]:
    """Seconds of each of XLA's operations while `run`, compiled already, is called once, over all threads or streams.

    Names are without the number that tells equal ones apart.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(run())
        traces = [json.loads(gzip.decompress(path.read_bytes())) for path in Path(folder).glob("**/*.trace.json.gz")]
    seconds: Counter[str] = Counter()
    for event in (event for trace in traces for event in trace["traceEvents"]):
        name = event.get("args", {}).get("hlo_op", "") if event.get("ph") == "X" else ""
        if name and not name.startswith(AROUND):
            seconds[re.sub(r"[.\d]+$", "", name)] += event["dur"] / 1e6
    return seconds


def shares(seconds: Counter[str]) -> dict[str, float]:
    """The share of the time that each kind of operation takes, the largest first; "others" are of no kind above."""
    found: Counter[str] = Counter()
    for name, taken in seconds.items():
        kind = next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "others")
        found[kind] += taken
    total = sum(found.values()) or 1.0
    return {kind: taken / total for kind, taken in found.most_common()}
