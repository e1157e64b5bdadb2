"""What every test runs under: silent broadcasts between ranks are errors, shapes in public signatures are checked."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)
install_import_hook("vaegan_jax", "beartype.beartype")
