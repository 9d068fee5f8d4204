"""A scoring that is not finished: the verdicts so far, one JSON object a line, so that one that was stopped goes on where it was.

The first line says what is scored and by what; a file that says something else is begun anew. An unfinished last line is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from core.models.judgement import Judgement


class Partial:
    """The verdicts of an unfinished scoring, by the number of the example.

    Args:
        path: the file.
        about: what is scored and by what, as JSON types.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self.known: dict[int, list[Judgement]] = {}
        self._about = json.dumps(about, sort_keys=True)
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1] if self.path.is_file() else []
        if lines[:1] == [self._about]:
            for line in lines[1:]:
                number, verdicts = json.loads(line)
                self.known[number] = [_judgement(verdict) for verdict in verdicts]
        content = "\n".join([self._about, *lines[1:]] if self.known else [self._about]) + "\n"
        self.path.write_text(content, encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, number: int, verdicts: Sequence[Judgement]) -> None:
        """Keep the verdicts on one example."""
        assert self._file is not None, "used as a context"
        self.known[number] = list(verdicts)
        self._file.write(json.dumps([number, [asdict(verdict) for verdict in verdicts]], ensure_ascii=False) + "\n")
        self._file.flush()


def _judgement(value: Mapping[str, Any]) -> Judgement:
    lists = {name: tuple(value[name]) for name in ("responses", "scores", "texts")}
    return Judgement(**{**value, **lists})
