"""`python -m vaegan_jax` is `vaegan`; all is imported in `main`, so that Ctrl-C is told plainly from the start."""

import os
import sys


def main() -> None:
    """Runs the command line: see `cli.main`."""
    try:
        from vaegan_jax import cli
    except KeyboardInterrupt:
        print("vaegan: stopped", file=sys.stderr)
        sys.exit(130)
    try:
        cli.main()
    except SystemExit as left:
        if left.code == 130 and "jax" in sys.modules:
            # What JAX still computes in its threads would crash a Python that takes itself apart.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(130)
        raise


if __name__ == "__main__":
    main()
