"""Scores with their cards: a number, what it depends on, and where it is kept.

A score without its protocol means nothing: another resizer, sample count or split moves a Frechet distance more than
most improvements do (Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation"). So every
number carries a `Protocol`, which must be the same for two scores to be ranked, and a `Sampling`, which tells what was
scored and may differ.
"""

import dataclasses
import fcntl
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vaegan_jax import __version__
from vaegan_jax.errors import UserError

FILE = "scores.jsonl"
"""Where a run keeps its scores, one in a line, in the order in which they were taken."""


@dataclass(frozen=True)
class Protocol:
    """How a number was measured. Scores of different protocols are different quantities."""

    metric: str
    """Name of the metric, as `vaegan evaluate --metrics` takes it."""

    data: str
    """Name of the data set, or of its file."""

    data_sha256: str
    """Fingerprint of the split below; of the training images where both take part."""

    split: str
    """Which of its images the samples were compared with: train or test."""

    real_count: int
    """Images of the data set that took part; 0 where none do."""

    sample_count: int
    """Samples of the model that took part; 0 where none do."""

    features: str = ""
    """Name of the network whose features were compared; empty where images or likelihoods were."""

    features_sha256: str = ""
    """SHA-256 of its weights."""

    resizer: str = ""
    """How images were brought to the network's size."""

    rounding: str = "uint8"
    """What pixels were rounded to before anything was measured."""

    dtype: str = "float64"
    """Precision of the metric's own arithmetic; networks compute in float32."""

    settings: dict[str, Any] = field(default_factory=dict)
    """What else the metric can be told: neighbors, subsets, the covariance's normalizer, the likelihood's protocol."""


@dataclass(frozen=True)
class Sampling:
    """What was scored."""

    model: str
    """Name of the model, or the file that the samples came from."""

    step: int = 0
    """Rounds that it had been trained for; 0 for samples from a file."""

    images: int = 0
    """Real images that it had seen by then."""

    weights: str = ""
    """Which weights drew the samples, and with which batch statistics."""

    truncation: str = "none"
    """How latents were cut off; scores of different truncations are not ranked either."""

    samples_sha256: str = ""
    """Fingerprint of samples that came from a file."""

    seed: int = 0
    """Seed of the latents, and of whatever is random in the metric."""

    version: str = __version__
    """Version of this library."""


@dataclass(frozen=True)
class Score:
    """A number with its card."""

    name: str
    """What people call it: FID for Inception's features with the published weights alone, else FD-NETWORK."""

    value: float
    """The number itself."""

    better: Literal["lower", "higher", "neither"]
    """Which way is good."""

    protocol: Protocol
    sampling: Sampling

    spread: float | None = None
    """Standard deviation, or standard error, over what the metric itself repeats (see its notes)."""

    notes: dict[str, float | str] = field(default_factory=dict)
    """What must be read beside it: a floor, an expected bias, what the spread is of."""

    def line(self) -> str:
        """One line for people."""
        spread = "" if self.spread is None else f" +- {self.spread:.2g}"
        notes = "".join(
            f"; {name} {value:.4g}" if isinstance(value, float) else f"; {name} {value}"
            for name, value in self.notes.items()
        )
        return f"{self.name:24} {self.value:.6g}{spread}{notes}"


def unlike(first: Score, second: Score) -> list[str]:
    """Why two scores may not be ranked, in words: their protocols differ, or how their latents were cut off."""
    cut = (first.sampling.truncation, second.sampling.truncation)
    return differences(first.protocol, second.protocol) + [f"truncation {' against '.join(cut)}"] * (cut[0] != cut[1])


def differences(first: Protocol, second: Protocol) -> list[str]:
    """How two protocols differ, each difference in words."""
    told = []
    for name in (each.name for each in dataclasses.fields(Protocol)):
        one, other = getattr(first, name), getattr(second, name)
        if name == "settings":
            keys = [key for key in one | other if one.get(key) != other.get(key)]
            told += [f"{key} {one.get(key, 'unset')} against {other.get(key, 'unset')}" for key in keys]
        elif one != other:
            short = (text[:12] if name.endswith("sha256") else text for text in (one or "none", other or "none"))
            told.append(" against ".join(map(str, (name.replace("_", " ") + f" {next(short)}", next(short)))))
    return told


def keep(folder: Path, scores: Sequence[Score]) -> None:
    """Appends scores to those of a run; one line each, whole, also where two processes do it at once."""
    lines = "".join(json.dumps(plain(score), allow_nan=False) + "\n" for score in scores)
    try:
        with open(folder / FILE, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            before = file.read()
            if before and not before.endswith(b"\n"):  # the last writer was killed: what it tore is nobody's score
                file.truncate(before.rfind(b"\n") + 1)
            file.write(lines.encode())
    except OSError as error:
        raise UserError(f"cannot write {folder / FILE}: {error.strerror or error}") from error


def plain(score: Score) -> dict[str, Any]:
    """A score as JSON can hold it: numbers that are not finite become text, "inf" or "nan"."""

    def fit(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fit(each) for key, each in value.items()}
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return fit(dataclasses.asdict(score))


def kept(folder: Path) -> list[Score]:
    """The scores of a run, the newest of each kind, round and truncation; a last line that a kill tore is left out.

    Raises UserError where the file cannot be read, or another line is damaged.
    """
    path = folder / FILE
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    newest: dict[str, Score] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            row |= {"protocol": Protocol(**row["protocol"]), "sampling": Sampling(**row["sampling"])}
            row |= {name: float(row[name]) for name in ("value", "spread") if row[name] is not None}
            score = Score(**row | {"name": str(row["name"])})
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines):
                raise UserError(f"{path}, line {number}, is damaged: mend it or move the file away") from error
            continue
        drawn = (score.sampling.step, score.sampling.seed, score.sampling.truncation)
        same = (score.name, dataclasses.asdict(score.protocol), *drawn)
        newest[json.dumps(same, sort_keys=True)] = score
    return list(newest.values())
