"""The rows of public sets as pairs: one reader for each format of a field map (see :mod:`core.data.maps`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from core.data.examples import PreferenceExample, Turn
from core.data.maps import FieldMap, Verdicts
from core.data.rows import ABSENT, RowError, RowReader, checked_text, find, shown


class MappedRows:
    """Reads the rows of one set: each becomes no, one or several examples.

    Args:
        source: name of the source.
        map: the set's field map.
        fields: names of fields that replace the map's.
        media: folder that media paths are relative to.
    """

    def __init__(self, source: str, map: FieldMap, fields: Mapping[str, str], media: Path) -> None:
        self.map = map
        self.rows = RowReader(source, "sharegpt" if map.format == "sharegpt" else "pair", {**map.fields, **fields}, media)
        readers: dict[str, Callable[[Mapping[str, Any], str], Iterator[PreferenceExample]]] = {
            "pair": self._one,
            "sharegpt": self._one,
            "turns": self._turns,
            "choice": self._choice,
            "rated": self._rated,
            "judged": self._judged,
        }
        self._read = readers[map.format]

    def read(self, row: Any, origin: str) -> Iterator[PreferenceExample]:
        """The examples of a row.

        Raises:
            RowError: the row cannot be used.
        """
        if not isinstance(row, Mapping):
            raise RowError(f"a row is a mapping, found {type(row).__name__}")
        for example in self._read(self._decoded(row), origin):
            if example.tie and "tie" in self.map.skip:
                raise RowError("neither response is better", "tie")
            yield example

    def _decoded(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        out = dict(row)
        for name in self.map.decode:
            if isinstance(out.get(name), str):
                try:
                    out[name] = json.loads(out[name])
                except json.JSONDecodeError as error:
                    raise RowError(f"`{name}` holds no JSON: {error.msg}") from error
        return out

    def _one(self, row: Mapping[str, Any], origin: str) -> Iterator[PreferenceExample]:
        yield self.rows.read(row, origin)

    def _turns(self, row: Mapping[str, Any], origin: str) -> Iterator[PreferenceExample]:
        """Two whole conversations with the same turns before the last."""
        chosen, rejected = (self._conversation(row, name) for name in ("chosen", "rejected"))
        if chosen[:-1] != rejected[:-1]:
            raise RowError("the chosen and the rejected conversation differ before their last turn")
        *history, prompt, answer = chosen
        if (prompt.role, answer.role, rejected[-1].role) != ("user", "assistant", "assistant"):
            raise RowError(f"a conversation ends with the user's and the assistant's turn, found {prompt.role} and {answer.role}")
        yield self.rows.example(row, origin, prompt.text, (answer.text, rejected[-1].text), history=history)

    def _conversation(self, row: Mapping[str, Any], name: str) -> list[Turn]:
        value = self.rows.required(row, name)
        if not isinstance(value, list) or len(value) < 2:
            raise RowError(f"`{self.rows.fields.get(name, name)}` is a list of two or more turns, found {shown(value)}")
        return [self.rows.read_turn(turn, f"{name}[{index}]") for index, turn in enumerate(value)]

    def _choice(self, row: Mapping[str, Any], origin: str) -> Iterator[PreferenceExample]:
        """Two responses and a label."""
        assert self.map.values is not None
        answers = (self.rows.text(row, "first"), self.rows.text(row, "second"))
        label = self.rows.required(row, "label")
        verdict = _which(self.map.values, str(label), lambda value, text: value == text)
        if verdict is None:
            allowed = ", ".join((*self.map.values.first, *self.map.values.second, *self.map.values.tie))
            raise RowError(f"`{self.rows.fields.get('label', 'label')}` is one of {allowed}; found {label!r}")
        yield self._ordered(row, origin, self.rows.text(row, "prompt"), answers, verdict)

    def _ordered(self, row: Mapping[str, Any], origin: str, prompt: str, answers: tuple[str, str], verdict: str) -> PreferenceExample:
        first, second = answers
        better = (second, first) if verdict == "second" else (first, second)
        return self.rows.example(row, origin, prompt, better, tie=verdict == "tie")

    def _rated(self, row: Mapping[str, Any], origin: str) -> Iterator[PreferenceExample]:
        """Responses with scores: of each prompt all pairs, or the pair of the widest gap (of equal gaps the first in the row)."""
        rated = self.map.rated
        assert rated is not None
        prompt = self.rows.text(row, "prompt")
        scored = []
        for item in _items(find(row, rated.items), rated.items):
            text, score = find(item, rated.text), _mean(find(item, path) for path in rated.scores)
            if score is not None and isinstance(text, str) and text.strip():
                scored.append((checked_text(text, rated.text), score))
        pairs = [(i, j) for i, j in combinations(range(len(scored)), 2) if scored[i][1] != scored[j][1] and scored[i][0] != scored[j][0]]
        if not pairs:
            raise RowError(f"no two of the {len(scored)} responses that have a score differ", "tie")
        if rated.keep == "widest":
            pairs = [max(pairs, key=lambda pair: abs(scored[pair[0]][1] - scored[pair[1]][1]))]
        group = self.rows.get(row, "group")
        for i, j in pairs:
            better, worse = (i, j) if scored[i][1] > scored[j][1] else (j, i)
            yield self.rows.example(
                row,
                origin,
                prompt,
                (scored[better][0], scored[worse][0]),
                tie=False,
                margin=scored[better][1] - scored[worse][1],
                group=str(group) if group is not ABSENT else prompt if rated.keep == "all" else None,
                suffix="" if rated.keep == "widest" else f"#{better}-{worse}",
            )

    def _judged(self, row: Mapping[str, Any], origin: str) -> Iterator[PreferenceExample]:
        """A judge's prompt and its verdict."""
        judged, values = self.map.judged, self.map.values
        assert judged is not None and values is not None
        found = re.search(judged.pattern, checked_text(_there(row, judged.text), judged.text), re.DOTALL)
        if found is None:
            raise RowError(f"`{judged.text}` is no judge's prompt of the known form: {shown(find(row, judged.text))}")
        said = checked_text(_there(row, judged.verdict), judged.verdict)
        verdict = _which(values, said, lambda pattern, text: re.search(pattern, text) is not None)
        if verdict is None:
            raise RowError(f"`{judged.verdict}` names no better response: {said[:60]!r}")
        answers = tuple(checked_text(found[name].strip(), name) for name in ("first", "second"))
        yield self._ordered(row, origin, checked_text(found["prompt"].strip(), "prompt"), (answers[0], answers[1]), verdict)


def _which(values: Verdicts, text: str, fits: Callable[[str, str], bool]) -> str | None:
    """``first``, ``second`` or ``tie``; ``None`` where no value fits, or those of two verdicts do."""
    found = [name for name in ("first", "second", "tie") if any(fits(value, text) for value in getattr(values, name))]
    return found[0] if len(found) == 1 else None


def _there(row: Mapping[str, Any], path: str) -> Any:
    value = find(row, path)
    if value is ABSENT:
        raise RowError(f"`{path}` is missing or null; the row has {', '.join(sorted(map(str, row))) or 'no fields'}")
    return value


def _items(value: Any, name: str) -> list[Any]:
    """A list of mappings; Parquet files of the hub carry it as a mapping of lists of one length."""
    if isinstance(value, Mapping) and value and all(isinstance(column, list) for column in value.values()):
        sizes = {len(column) for column in value.values()}
        if len(sizes) == 1:
            return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    if not isinstance(value, list):
        found = "nothing" if value is ABSENT else shown(value)
        raise RowError(f"`{name}` is a list of responses, found {found}")
    return value


def _mean(values: Iterator[Any]) -> float | None:
    """Mean of the scores that are numbers, or texts of numbers (``N/A`` is none); ``None`` where there is none."""
    numbers = []
    for value in values:
        try:
            numbers.append(float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else float("nan"))
        except ValueError:
            continue
    numbers = [number for number in numbers if number == number]
    return sum(numbers) / len(numbers) if numbers else None
