"""What a run is and where it stands, as `vaegan inspect` prints it."""

from collections.abc import Mapping
from typing import Any

from vaegan_jax.training.collapse import SIGMA


def lines(facts: Mapping[str, Any]) -> list[str]:
    """The facts that `reading.inspect` gives, a line each; of the spectra of all layers the extremes by network."""
    config, model = facts["config"], facts["config"]["model"]
    told = [
        ("run", facts["run"]),
        ("model", f"{model['name']} on {config['data']}, seed {config['seed']}"),
        ("round", f"{facts['step']:,} of {facts['steps']:,}"),
        ("solver", f"{config['solver']['name']}, {facts['field_evaluations']:g} field evaluations a round"),
    ]
    if imported := facts["imported"]:
        files = ", ".join(f"{file['name']} ({file['sha256'][:12]})" for file in imported["files"].values())
        told += [("imported", f"{imported['layout']}: {files}"), *(("imported", note) for note in imported["notes"])]
    if initial := facts["initial"]:
        told.append(("begun with", f"{initial['run']}, round {initial['round']:,} ({initial['sha256'][:12]})"))
    told += [("batch norm", facts["batch_norm"])] if facts["batch_norm"] else []
    told += [("parameters", f"{count:,} {network}") for network, count in facts["parameters"].items()]
    told += [("sha256", f"{sha256} {what}") for what, sha256 in facts["sha256"].items()]
    metrics = {name: value for name, value in facts["metrics"].items() if not name.startswith(("sigma", "samples/"))}
    told += [("metric", f"{value:.6g} {name}") for name, value in metrics.items()]
    told += _watched(facts["watched"])
    for back in facts["rollbacks"]:
        signals = "; ".join(f"{name}: {said}" for name, said in back["signals"].items())
        told.append(("rolled back", f"from round {back['round']:,} to {back['to']:,}: {signals}"))
    told += [("damage", damage) for damage in facts["damage"]]
    return [f"{title:11} {said}" for title, said in told]


def _watched(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of the last measurement: the largest singular value by network, the farthest lag of a spectral norm, variance."""
    if not row:
        return []
    found: dict[str, tuple[float, str]] = {}
    for name, value in row.items():
        if name.startswith(SIGMA):
            network, _, layer = name.removeprefix(SIGMA).partition(".")
            found[network] = max(found.get(network, (0.0, "")), (value, layer))
    at = f"round {row['step']:,}"
    told = [
        ("watched", f"{value:.4g} largest singular value of {network}, in {layer.removesuffix('.kernel')} ({at})")
        for network, (value, layer) in found.items()
    ]
    lags = [(value, name.partition("/")[2]) for name, value in row.items() if name.startswith("sigma_normalized/")]
    if lags:
        value, layer = max(lags)
        told.append(
            ("watched", f"{value:.4g} largest after spectral normalization, in {layer.removesuffix('.kernel')}")
        )
    return [*told, ("watched", f"{row['samples/variance']:.1%} of the data's variance in samples")]
