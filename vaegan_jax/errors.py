"""The one exception that is the user's to mend, and the one warning."""

import difflib
import typing
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """A mistake of the user's, told in one line; the command line prints it and exits with code 2."""


class Caution(UserWarning):
    """What the user should know of a result that was given all the same; the command line prints it in one line."""


def check(condition: bool, message: str) -> None:
    """Raises UserError(message) unless the condition holds."""
    if not condition:
        raise UserError(message)


def unknown(kind: str, name: str, known: Iterable[str], otherwise: str = "", cutoff: float = 0.4) -> UserError:
    """The error for a name that does not exist: says the nearest that does, all of them, and what else will do."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    also = f"; {otherwise}" if otherwise else ""
    return UserError(f"unknown {kind} {name!r}.{hint} There are: {', '.join(known)}{also}")


def check_fields(config: Any) -> None:
    """Raises UserError where a field of a dataclass holds what its annotation does not allow: a type, or a choice."""
    for name, hint in typing.get_type_hints(type(config)).items():
        value, title = getattr(config, name), name.replace("_", "-")
        choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        if choices and value not in choices:
            raise unknown(title, str(value), choices)
        if typing.get_origin(hint) is tuple:
            elements = isinstance(value, tuple | list) and all(
                _is(element, typing.get_args(hint)[0]) for element in value
            )
            check(elements, f"{title} must be a tuple of {typing.get_args(hint)[0].__name__}, not {value!r}")
        elif hint in KINDS:
            check(_is(value, hint), f"{title} must be {KINDS[hint]}, not {value!r}")


KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


def _is(value: Any, kind: type) -> bool:
    kinds = (int, float) if kind is float else kind
    return isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))
