"""The command line as a function and as a process of its own, with what the tests of commands have in common."""

import contextlib
import io
import subprocess
import sys
from typing import NamedTuple

from vaegan_jax import cli

VAE = ["vae", "--model.hidden-sizes", "8", "--model.latent-size", "2"]
DENSE = ["--model.network", "mlp", "--model.hidden-sizes", "8", "--model.latent-size", "2"]
GAN, CGAN = ["gan", *DENSE], ["cgan", *DENSE]
# Several rounds in a dispatch; grids that are cheap to draw.
SMALL = ["--batch-size", "8", "--training.rounds-per-dispatch", "4", "--training.sample-count", "4"]
# On one device, and with no pictures but the last.
ALONE = [*SMALL, "--devices", "1", "--training.sample-interval-steps", "0"]
TRAIN = ["train", *VAE, *ALONE, "--data", "data.npz"]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def vaegan(*words):
    """Runs a command in this process; an exception that would have been a traceback comes through."""
    out, err, code, before = io.StringIO(), io.StringIO(), 0, sys.argv
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["vaegan", *map(str, words)]
        try:
            cli.main()
        except SystemExit as exit:
            code = exit.code or 0
        finally:
            sys.argv = before
    return Outcome(code, out.getvalue(), err.getvalue())


def done(*words):
    """What a command tells that can be done."""
    outcome = vaegan(*words)
    assert outcome.code == 0, outcome.err
    return outcome.out


def refused(*words, longest=500):
    """The one line, of less than `longest` characters, with which a command ends that cannot be done."""
    code, _, err = vaegan(*words)
    assert code == 2 and err.endswith("\n"), (code, err)
    (line,) = err.splitlines()
    assert line.startswith("vaegan: error: ") and len(line) < longest, line
    return line


def start(*words, environment=None):
    """Starts a command in a process of its own."""
    command = [sys.executable, "-m", "vaegan_jax", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def ended(process, seconds=240):
    """What a process came to, which is killed if it takes too long."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Outcome(process.returncode, out, err)


def contents(folder):
    """Every file and folder, with what is in it; but not who last held a run's lock."""
    paths = [path for path in sorted(folder.rglob("*")) if path.name != "lock"]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}
