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


def unknown(kind: str, name: str, known: Iterable[str], otherwise: str = "") -> UserError:
    """The error for a name that does not exist: says the nearest that does, all of them, and what else will do."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    also = f"; {otherwise}" if otherwise else ""
    return UserError(f"unknown {kind} {name!r}.{hint} There are: {', '.join(known)}{also}")


def check_choices(config: Any) -> None:
    """Raises UserError where a field of a dataclass annotated with a Literal holds something else."""
    for name, hint in typing.get_type_hints(type(config)).items():
        choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        if choices and getattr(config, name) not in choices:
            raise unknown(name.replace("_", "-"), str(getattr(config, name)), choices)
