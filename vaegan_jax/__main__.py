"""`python -m vaegan_jax` is `vaegan`."""

from vaegan_jax.cli import main

main()
