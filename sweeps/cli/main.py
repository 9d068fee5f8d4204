"""The command ``sweep``: one function a subcommand, heavy imports inside, errors turned into lines and exit codes.

Exit codes: 0 done, 1 the sweep ended with failed trials, 2 the definition or the call is wrong, 3 the environment is, 4 an
internal error, whose traceback is saved.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer

from core.errors import SweepError, nearest

if TYPE_CHECKING:
    app: typer.Typer

LOOKS = ("status", "list", "show", "explain", "logs")
"""Commands of ``look``, which people and scripts repeat: they do not wait for the imports of the others."""


def _command(words: Sequence[str]) -> str | None:
    return next((word for word in words if word != "--debug"), None)


def _rooms(words: Sequence[str]) -> Iterator[ModuleType]:
    """The modules that hold the command that is called, which add their commands; all where it is not known to be in one."""
    from sweeps.cli import look

    if _command(words) in LOOKS:
        yield look
        return
    from sweeps.cli import act, admin, answer, data, define, digest, hand_on, launch, nightly, place, search

    yield from (define, launch, look, act, answer, data, digest, hand_on, place, search, nightly, admin)


def _build(words: Sequence[str]) -> typer.Typer:
    app = typer.Typer(
        name="sweep",
        help="Turn an ablation grid of reward models into one file that runs, survives, and answers.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for room in _rooms(words):
        room.add_to(app)
    app.callback()(_main)
    return app


def __getattr__(name: str) -> Any:
    """``app`` is the whole command, built when it is first asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = _build(())
    return globals()["app"]


def _version(asked: bool) -> None:
    if asked:
        print(f"rewardsweep {version('rewardsweep')}")
        raise typer.Exit


def _main(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True, callback=_version),
) -> None:
    """Turn an ablation grid of reward models into one file that runs, survives, and answers."""


def main() -> None:
    """Run the command and leave with its exit code."""
    debug = "--debug" in sys.argv[1:]
    command = _command(sys.argv[1:])
    if command in LOOKS or (command == "report" and "--quick" in sys.argv[1:]):
        gc.disable()  # a plan of ten thousand trials is a million objects and no cycle, and the process ends at once
    try:
        code = _build(sys.argv[1:])(standalone_mode=False)
    except SweepError as error:
        if debug:
            raise
        _print_error(error.lines())
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _print_error(["interrupted"])
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        # the parser's own errors, whichever click typer is built on
        if hasattr(error, "format_message"):
            sys.exit(_usage(error))
        if debug:
            raise
        with tempfile.NamedTemporaryFile("w", prefix="sweep-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
            file.write(traceback.format_exc())
        last = traceback.format_exc().strip().splitlines()[-1]
        _print_error([f"internal error: {last}", f"  traceback: {file.name}", "  next:     the same command after `sweep --debug`"])
        code = 4
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return 2
    lines = [error.format_message()]
    context = getattr(error, "ctx", None)
    if context is not None:
        word = next((a for a in sys.argv[1:] if a.startswith("--") and a.split("=")[0] in error.format_message()), None)
        options = [name for parameter in context.command.params for name in parameter.opts]
        close = nearest(word.split("=")[0], options) if word else None
        lines += [f"  did you mean: {close}"] if close and "Did you mean" not in lines[0] else []
        lines.append(f"  next:     {context.command_path} --help")
    _print_error(lines)
    return 2


def _print_error(lines: list[str]) -> None:
    sys.stdout.flush()
    print("error: " + "\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
