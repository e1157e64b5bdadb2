"""From the words of a command line to the call of a command, by tyro; what is wrong with them is told in one line."""

import contextlib
import difflib
import functools
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence

import tyro

from vaegan_jax.errors import UserError, unknown
from vaegan_jax.models import MODELS
from vaegan_jax.models.catalog import CATALOG

Command = Callable[..., None]
Parts = dict[str, Callable[[Sequence[str]], tuple[Command, int]]]


def parse(commands: dict[str, Command], words: Sequence[str], parts: Parts | None = None) -> Callable[[], None]:
    """The command that the words ask for, ready to be called. Prints and exits (0) for --help.

    `parts` are of commands whose own words say what they take: from the words that follow a command's name to what is
    called, and how many of them name it.

    Raises UserError, one line, for what cannot be understood, with the nearest name where one is unknown.
    """
    if words and not words[0].startswith("-") and words[0] not in commands:
        raise unknown("command", words[0], commands)
    if words[:1] == ["train"] and len(words) > 1 and not words[1].startswith("-"):
        check_model(words[1])
    box, title, settings = io.StringIO(), "vaegan", (tyro.conf.CascadeSubcommandArgs,)
    try:
        with contextlib.redirect_stderr(box), _wide({"-h", "--help"}.isdisjoint(words)):
            if words and words[0] in (parts or {}):
                command, taken = parts[words[0]](words[1:])
                title = " ".join([title, *words[: 1 + taken]])
                return tyro.cli(_later(command), prog=title, args=words[1 + taken :], config=settings)
            return tyro.extras.subcommand_cli_from_dict(
                {name: _later(command) for name, command in commands.items()},
                prog="vaegan",
                description="Variational autoencoders and generative adversarial networks in JAX.",
                args=words,
                config=settings,
            )
    except SystemExit as exit:
        if not exit.code:
            raise
        title = title if title != "vaegan" else " ".join([title, *[word for word in words[:1] if word in commands]])
        raise _told(box.getvalue(), words, f"{title} --help") from None


@contextlib.contextmanager
def _wide(wanted: bool) -> Iterator[None]:
    """Has tyro break no line, so that no word of it is torn."""
    before = os.environ.get("COLUMNS")
    if wanted:
        os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        os.environ.update({"COLUMNS": before} if before is not None else {})


def _later(command: Command) -> Callable[..., Callable[[], None]]:
    """The command with the same signature and help, which returns the call in place of making it."""

    @functools.wraps(command)
    def later(*args, **named):
        return functools.partial(command, *args, **named)

    later.__annotations__ = command.__annotations__ | {"return": Callable[[], None]}
    return later


def _told(box: str, words: Sequence[str], where: str) -> UserError:
    """The one line for what tyro tells in a box of several; `where` is the command that tells more."""
    what, *hints = _sections(box)
    if unrecognized := re.match(r"Unrecognized (or misplaced )?options: (.*)", what):
        strange = re.split(r", | ", unrecognized[2])
        flag = next((word for word in strange if word.startswith("-")), None)
        if flag is None:
            if words[0] == "train" and not set(words) & set(MODELS):
                check_model(strange[0])
            return UserError(f"{strange[0]!r} is one word too many; see {where}")
        known = _options(" ".join(hints))
        if flag in known:
            return UserError(f"{flag} is an option of another model or command. See {where}")
        own = {option for option, commands in known.items() if words[0] in commands}
        near = difflib.get_close_matches(flag, sorted(own or known), n=1, cutoff=0)
        return UserError(f"unknown option {flag}.{f' Did you mean {near[0]}?' if near else ''} See {where}")
    if choice := re.match(r"invalid choice '(.*)' for argument '(--[\w.-]+)'\. Expected one of \((.*)\)", what):
        word, flag, choices = choice.groups()
        return unknown(flag, word, re.findall(r"'([^']*)'", choices))
    for pattern, plain in PLAIN.items():
        what = re.sub(pattern, plain, what)
    return UserError(f"{what}; see {where}")


def _options(hints: str) -> dict[str, set[str]]:
    """Options that tyro finds near, each with the commands that have it: "--steps INT ... in vaegan train --help"."""
    known: dict[str, set[str]] = {}
    option = ""
    for found in re.finditer(r"(?<![\w-])(--[\w.-]+)|\bin vaegan (\w+)", hints):
        option = found[1] if found[1] and found[1] != "--help" else option
        known.setdefault(option, set()).update({found[2]} - {None})
    return {option: commands for option, commands in known.items() if option}


def _sections(box: str) -> list[str]:
    """The texts between the rules of a box; its title is in the frame, or, where that is of plain characters, first."""
    sections: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip(" │|")
        if text and set(text) <= {"─", "-"}:
            sections.append([])
        elif text and not text.startswith(("╭", "╰")):
            sections[-1].append(text)
    texts = [" ".join(section) for section in sections if section]
    return texts if "╭" in box else texts[1:]


PLAIN = {
    r"Error parsing ": "",
    r"invalid literal for int\(\) with base 10: (.*)": r"\1 is not a whole number",
    r"could not convert string to float: (.*)": r"\1 is not a number",
    r" Expected 1 values\.": "",
    r" \(required\)": "",
    r"\.$": "",
}
"""What Python and tyro say, as it is told to people."""


def check_model(word: str) -> None:
    """UserError where a word is no model that is ready."""
    if word in MODELS:
        return
    if word in {row.name for row in CATALOG}:
        raise UserError(f"model {word!r} is planned, not ready. There are: {', '.join(MODELS)}")
    raise unknown("model", word, MODELS)
