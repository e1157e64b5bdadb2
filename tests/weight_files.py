"""What tests of files of weights have in common: how errors are told, what is the same, and a stranger's pickle."""

import numpy as np
import pytest

from vaegan_jax.errors import UserError


class Evil:
    """Unpickled by Python's own reader, it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def told(call, *fragments):
    """Asserts that `call` raises a UserError of one line that holds all of `fragments`."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    for fragment in fragments:
        assert fragment in message, message


def same(found, expected):
    """Asserts that two dictionaries hold the same arrays, of the same types."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


def left(folder):
    """The names in a folder, which need not be there."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
