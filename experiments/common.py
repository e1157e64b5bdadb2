"""What the experiments share: results as data, options, and training that goes on where it was, epoch by epoch."""

import argparse
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import numpy as np
from PIL import Image

from vaegan_jax.data import Source
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import assemble
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.run import provenance, write
from vaegan_jax.training.stopping import Interrupted

HERE = Path(__file__).parent
FIGURES, RESULTS = HERE / "figures", HERE / "results"
LARGE = 200_000
"""Bytes of a picture from which its colors are counted out."""


def options(doc: str, runs: bool = True) -> argparse.ArgumentParser:
    """A parser whose --help is the script's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if runs:
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs go (default: %(default)s)")
    return parser


def tell(claims: dict[str, bool]) -> None:
    """Prints each claim and whether the numbers bear it out."""
    for claim, holds in claims.items():
        print(f"{'holds' if holds else 'DOES NOT HOLD'}: {claim}")


def draw(name: str, figure: Any, dpi: int = 100) -> None:
    """Writes figures/NAME.png from a matplotlib Figure, in few colors if it would be large."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    if file.tell() > LARGE:
        picture, file = Image.open(file).convert("RGB"), io.BytesIO()
        picture.quantize(256, Image.Quantize.MEDIANCUT).save(file, "png", optimize=True)
    write(FIGURES / f"{name}.png", file.getvalue())


def report(name: str, results: dict[str, Any], seeds: list[int], **provided: Any) -> None:
    """Writes results/NAME.json: the numbers, and what they depend on."""
    device = jax.devices()[0]
    facts = provenance()
    facts["machine"] |= {"device": device.device_kind, "platform": device.platform}
    facts["versions"] |= provided.pop("versions", {})
    facts["machine"] |= provided.pop("machine", {})
    told = {**results, "seeds": seeds, **facts, **provided}
    text = json.dumps(told, indent=1, default=lambda array: array.tolist())
    flat = re.sub(r"\[[^\[\]{}]*\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text)  # a row of numbers, a line
    write(RESULTS / f"{name}.json", flat + "\n")


@contextmanager
def compiling() -> Iterator[list[float]]:
    """Collects the seconds of each call of XLA's compiler meanwhile."""
    seconds: list[float] = []

    def note(event: str, duration: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def rounded(array: Any, digits: int = 5) -> list:
    """Nested lists of numbers to so many significant digits, for results that are read by people, too."""
    return np.vectorize(lambda value: float(f"{value:.{digits}g}"), otypes=[float])(array).tolist()


def rounds_of(config: RunConfig, source: Source, epochs: float) -> int:
    """The rounds whose images are that many passes over the source, rounded down."""
    return int(epochs * len(source)) // assemble(config, source.spec).images_per_round


def through_epochs(
    config: RunConfig,
    run: Path,
    source: Source,
    epochs: list[int],
    look: Callable[[Path], dict[str, Any]],
    held_out: Source | None = None,
) -> list[dict[str, Any]]:
    """Trains to the end of each epoch in turn and looks at the run there; returns what was seen, a row an epoch.

    What was seen is kept in the run's folder: begun again, it goes on with what is missing.
    """
    rows = []
    for epoch in epochs:
        seen, steps = run / f"epoch-{epoch:03d}.json", rounds_of(config, source, epoch)
        if not seen.exists():
            try:
                if run.exists():
                    resume(run, steps, source=source, held_out=held_out)
                else:
                    train(replace(config, steps=steps), run, source, held_out)
            except Interrupted:
                raise SystemExit(f"stopped and saved in {run}; to go on, give the same command again") from None
            write(seen, json.dumps({"epoch": epoch, "step": steps, **look(run)}, indent=1) + "\n")
        rows.append(json.loads(seen.read_text()))
    return rows
