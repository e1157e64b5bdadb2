"""What every test runs under: silent broadcasts between ranks are errors, shapes in public signatures are checked."""

import contextlib
import gc

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)
install_import_hook("vaegan_jax", "beartype.beartype")


@pytest.fixture(scope="module", autouse=True)
def _programs_dropped():
    """A module's compiled programs end with it: each is mapped into memory, and a process has 65,530 maps at most."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def _compiling_quickly():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def compiled_quickly():
    """Ten times as fast to compile, and fast enough to run once: `pytestmark = pytest.mark.usefixtures(...)`."""
    yield from _compiling_quickly()


@pytest.fixture
def this_compiled_quickly():
    """The same for one test."""
    yield from _compiling_quickly()


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """The folder of compiled programs that all runs share."""
    return tmp_path_factory.getbasetemp() / "compiled"


@pytest.fixture(scope="session")
def once(cache):
    """`with once():` programs are compiled once for all runs; JAX has started, so that no test makes devices for
    the others."""

    @contextlib.contextmanager
    def within():
        jax.devices()
        options = {"jax_compilation_cache_dir": str(cache), "jax_persistent_cache_min_compile_time_secs": 0}
        before = {name: getattr(jax.config, name) for name in options}
        for values in (options, before):
            for name, value in values.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
            if values is options:
                yield

    return within


@pytest.fixture(scope="module")
def compiled_once(once):
    """For tests of runs: `pytestmark = pytest.mark.usefixtures(...)`."""
    with once():
        yield
