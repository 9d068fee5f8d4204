"""Writes the generated parts of ``docs/reference/commands.md``: ``python docs/make_reference.py``.

Between ``<!-- options: plan -->`` and ``<!-- end -->`` stands what the command's own declarations say: usage, first sentence,
arguments and options. Everything else on the page is written by hand. A test compares the page with what this prints, so
that an option which is added, renamed or removed cannot be forgotten.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

PAGE = Path(__file__).resolve().parent / "reference" / "commands.md"
BLOCK = re.compile(r"<!-- options: ([\w -]+) -->\n.*?<!-- end -->", flags=re.DOTALL)


@dataclass(frozen=True)
class Parameter:
    """One argument or option: how it is written, what it takes, what it means and what it is without being given."""

    written: str
    is_option: bool
    required: bool
    help: str
    default: str


def commands(app: typer.Typer, prefix: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command with its function, those of groups as ``index rebuild``."""
    for command in app.registered_commands:
        assert command.callback is not None
        yield prefix + (command.name or command.callback.__name__), command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{prefix}{group.name} ")


def parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    """What a command takes, in the order of its declaration."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *notes = get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name], None)
        info = next(note for note in notes if isinstance(note, ArgumentInfo | OptionInfo))
        required = parameter.default is inspect.Parameter.empty
        if isinstance(info, ArgumentInfo):
            written = info.metavar or name.upper()
        else:
            # with Annotated, typer keeps the first name where a default would stand
            names = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str) and word.startswith("-")]
            written = ", ".join(sorted(names, key=len, reverse=True)) + _value(kind, info)
        yield Parameter(written, isinstance(info, OptionInfo), required, _help(info), _default(parameter.default, info))


def _value(kind: Any, info: OptionInfo) -> str:
    """What an option takes: nothing where it is a switch."""
    kinds = [part for part in get_args(kind) if part is not NoneType] if NoneType in get_args(kind) else [kind]
    word = info.metavar
    if kinds == [bool]:
        return ""
    if word is None and get_origin(kinds[0]) is Literal:
        word = "|".join(map(str, get_args(kinds[0])))
    if word is None:
        inner = get_args(kinds[0])[0] if get_origin(kinds[0]) is list else kinds[0]
        word = {int: "NUMBER", Path: "PATH"}.get(inner, "TEXT")
    return f" {word}" + (" ..." if get_origin(kinds[0]) is list else "")


def _help(info: ArgumentInfo | OptionInfo) -> str:
    return re.sub(r"\s*\[default: .*\]", "", info.help or "")


def _default(value: Any, info: ArgumentInfo | OptionInfo) -> str:
    said = re.search(r"\[default: (.*)\]", info.help or "")
    if said:
        return said[1]
    return "" if value in (None, False, inspect.Parameter.empty) else f"`{value}`"


def section(name: str, function: Callable[..., Any]) -> str:
    """The generated part of one command."""
    found = list(parameters(function))
    arguments = [
        part.written if part.required or part.written.startswith("[") else f"[{part.written}]" for part in found if not part.is_option
    ]
    needed = [re.sub(r", -\w", "", part.written) for part in found if part.is_option and part.required]
    lines = [
        "```",
        " ".join(["sweep", name, *arguments, *needed, *(["[OPTIONS]"] if len(needed) < sum(part.is_option for part in found) else [])]),
        "```",
        "",
        (inspect.getdoc(function) or "").strip(),
    ]
    if found:
        lines += ["", "| argument or option | meaning | default |", "|---|---|---|"]
    for part in found:
        cells = (f"`{part.written}`", part.help, "required" if part.required else part.default)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def render(text: str) -> str:
    """The page with its generated parts renewed.

    Raises:
        KeyError: the page has a part for a command that does not exist.
    """
    from sweeps.cli.main import app

    known = dict(commands(app))
    return BLOCK.sub(lambda found: f"<!-- options: {found[1]} -->\n{section(found[1], known[found[1]])}\n<!-- end -->", text)


if __name__ == "__main__":
    sys.path.insert(0, str(PAGE.parents[2]))
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE.name}")
