"""No damage to config.json shows a traceback."""

import json
import shutil
import subprocess
import sys


def damaged(config):
    """Texts that a config.json may come to hold."""
    text = json.dumps(config)
    swap = lambda **fields: json.dumps(config | {"config": config["config"] | fields})  # noqa: E731
    yield from ("", "null", "[]", "3", '"text"', "{}", text[:-2], text.replace(":", ";", 1), "\0" * 100, "\ud800")
    for key in config:
        if key not in ("machine", "examples", "card"):  # told to people, relied upon by nothing
            yield json.dumps({name: value for name, value in config.items() if name != key})
    yield json.dumps(config | {"config": []})
    yield json.dumps(config | {"spec": {}})
    yield json.dumps(config | {"spec": None})
    yield json.dumps(config | {"spec": config["spec"] | {"image_shape": [8, 8]}})
    yield json.dumps(config | {"spec": config["spec"] | {"image_shape": [0, 8, 1]}})
    yield swap(steps=-1)
    yield swap(steps="many")
    yield swap(steps=2.5)
    yield swap(seed=True)
    yield swap(momentum=0.9)
    yield swap(parallel="serial")
    yield swap(model=None)
    yield swap(model={"name": "stylegan"})
    yield swap(model={})
    yield swap(model=config["config"]["model"] | {"gamma": 1})
    yield swap(model=config["config"]["model"] | {"hidden_sizes": 8})
    yield swap(model=config["config"]["model"] | {"hidden_sizes": [2.5]})
    yield swap(model=config["config"]["model"] | {"latent_size": 2.5})
    yield swap(model=config["config"]["model"] | {"optimizer": None})
    yield swap(training=config["config"]["training"] | {"keep": 1})


PLAINLY = """
import contextlib, io, json, sys
from pathlib import Path
from vaegan_jax import cli

told = []
for text in json.load(sys.stdin):
    Path("run/config.json").write_text(text, errors="surrogatepass")
    for command in ("inspect", "sample", "resume"):
        sys.argv, err, code = ["vaegan", command, "run"], io.StringIO(), None
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            try:
                cli.main()
            except SystemExit as exit:
                code = exit.code
            except Exception as error:
                code = repr(error)
        told.append((command, text, code, err.getvalue()))
print(json.dumps(told))
"""


def test_no_damage_to_config_json_shows_a_traceback(place, tmp_path):
    """In a process of its own, where no shapes and types are checked that would not be checked for a user."""
    shutil.copytree(place / "vae", tmp_path / "run")
    texts = list(damaged(json.loads((place / "vae" / "config.json").read_text())))
    command = [sys.executable, "-c", PLAINLY]
    ran = subprocess.run(command, input=json.dumps(texts), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert len(told) == 3 * len(texts) > 90
    for command, text, code, err in told:
        # `resume` looks at the data before it looks at the spec, and those are gone here.
        assert code == 2 and err.startswith("vaegan: error: ") and err.count("\n") == 1, (command, text, code, err)
