"""A sheet as a file: PNG, GIF, HTML, or the arrays that it is drawn from."""

from pathlib import Path

from vaegan_jax.dynamics import drawing, page
from vaegan_jax.dynamics.panels import Sheet, arrays
from vaegan_jax.errors import UserError
from vaegan_jax.pictures import npz
from vaegan_jax.training.run import write


def save(sheet: Sheet, output: Path, table: str = "") -> None:
    """Writes the file that the name's ending says; a page has the table in it. UserError where it cannot be written."""
    make = {
        ".png": lambda: drawing.png(sheet),
        ".gif": lambda: drawing.gif(sheet),
        ".html": lambda: page.page(sheet, table),
        ".npz": lambda: npz(arrays(sheet)),
    }[output.suffix]
    try:
        write(output, make())
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error
