"""Every error a user can meet, and what it must say.

An error names what was *found*, what is *allowed*, the *nearest* valid name, the *place* (file and line) and the *next*
command to type. The class decides the exit code of the command:

====================  ====  ======================================================
class                 exit  meaning
====================  ====  ======================================================
``DefinitionError``   2     the sweep definition (or a data file it names) is wrong
``UsageError``        2     the call is wrong
``EnvironmentFault``  3     the machine lacks something: GPU, weights, data, space
``IntegrityError``    3     files of the workspace contradict each other
====================  ====  ======================================================

``TrialFailed`` never reaches a user: it is recorded in the attempt's journal with its cause. Anything else that escapes is
internal (exit 4).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A position in a file that a user wrote; ``line`` counts from 1 (``None`` where the format has no lines)."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class SweepError(Exception):
    """Base of all errors that are shown to a user without a traceback.

    Args:
        message: one sentence: what is wrong.
        found: what was found, as written; a list has a line for each.
        allowed: the valid names or values, or a sentence that describes them.
        nearest: the closest valid name (see :func:`nearest`).
        place: where it stands.
        next: the command to type next.
    """

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        found: object = None,
        allowed: Iterable[str] | str | None = None,
        nearest: str | None = None,
        place: Place | Path | str | None = None,
        next: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.allowed = allowed if isinstance(allowed, str) or allowed is None else list(allowed)
        self.nearest = nearest
        self.place = place
        self.next = next

    def lines(self) -> list[str]:
        """The message as the lines that a terminal shows, the first one being the sentence itself."""
        out = [f"{self.place}: {self.message}" if self.place is not None else self.message]
        for item in self.found if isinstance(self.found, list) else [self.found]:
            out += [f"  found:    {item}"] if item is not None else []
        if self.allowed is not None:
            out.append(f"  allowed:  {self.allowed if isinstance(self.allowed, str) else ', '.join(self.allowed)}")
        if self.nearest is not None:
            out.append(f"  did you mean: {self.nearest}")
        if self.next is not None:
            out.append(f"  next:     {self.next}")
        return out

    def __str__(self) -> str:
        return "\n".join(self.lines())


class DefinitionError(SweepError):
    """The sweep definition, or a file that it names, is wrong."""

    exit_code = 2


class UsageError(SweepError):
    """The command was called wrongly."""

    exit_code = 2


class EnvironmentFault(SweepError):
    """The machine or the installation lacks what the work needs."""

    exit_code = 3


class IntegrityError(SweepError):
    """Files of the workspace contradict each other or have been changed by hand."""

    exit_code = 3


CAUSES = (
    "user_bug",
    "nan_loss",
    "data_error",
    "disk_quota",
    "host_oom",
    "cuda_oom",
    "comm_timeout",
    "node_failure",
    "killed",
    "crashed",
    "no_progress",
)
"""Names of the causes with which an attempt can fail (``killed``: SIGKILL without evidence of memory pressure; ``crashed``: a
signal such as SIGSEGV)."""


class TrialFailed(Exception):
    """Raised inside an attempt to end it with a named cause; recorded in the journal, never shown as a traceback.

    Args:
        cause: one of :data:`CAUSES`.
        message: what happened, with the place (file and row for data).
    """

    def __init__(self, cause: str, message: str) -> None:
        if cause not in CAUSES:
            raise ValueError(f"unknown cause {cause!r}; allowed: {', '.join(CAUSES)}")
        super().__init__(message)
        self.cause = cause
        self.message = message


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The valid name closest to ``word``, or ``None`` where nothing is close."""
    names = list(allowed)
    lowered = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[found[0]] if found else None
