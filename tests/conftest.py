"""What every test runs under: silent broadcasts between ranks are errors, shapes in public signatures are checked."""

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)
install_import_hook("vaegan_jax", "beartype.beartype")


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def compiled_quickly():
    """Ten times as fast to compile, and fast enough to run once: `pytestmark = pytest.mark.usefixtures(...)`."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
