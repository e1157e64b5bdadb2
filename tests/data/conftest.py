"""A data folder of the test's own, and a set that is prepared in it."""

import pytest
from made_up import idx_folder

from vaegan_jax.data.preparing import prepare


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data folder, which is not there yet."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def mine(tmp_path, data):
    """A prepared set: its folder."""
    return prepare("idx_images/mine", idx_folder(tmp_path / "raw"))[0]
