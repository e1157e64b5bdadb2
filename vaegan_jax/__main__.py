"""`python -m vaegan_jax` is `vaegan`; all is imported in `main`, so that Ctrl-C is told plainly from the start."""

import sys


def main() -> None:
    """Runs the command line: see `cli.main`."""
    try:
        from vaegan_jax import cli
    except KeyboardInterrupt:
        print("vaegan: stopped", file=sys.stderr)
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
