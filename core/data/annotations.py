"""What was written about preferences: critiques of responses and reasoning about pairs, one JSON object a line.

``{"example": DIGEST, "texts": {RESPONSE or "": TEXT}, "tries": N}``: a critique stands under the response that it is about, a reasoning
under the empty text. ``tries`` is how many texts had to be written until one could be used, and so how difficult the example is; a
response without a text has none that could.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.data.examples import PreferenceExample
from core.errors import IntegrityError

FILE = "annotations.jsonl"
"""Name of the file in the folder that a task `annotate` publishes."""


@dataclass(frozen=True)
class Annotation:
    """What was written about one example.

    Attributes:
        example: :meth:`PreferenceExample.digest`.
        texts: by response (a critique), or under ``""`` (a reasoning).
        tries: the most texts that one of them took.
    """

    example: str
    texts: Mapping[str, str]
    tries: int


def write_annotations(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write them, in order."""
    with path.open("w", encoding="utf-8") as handle:
        for item in annotations:
            line = {"example": item.example, "texts": dict(item.texts), "tries": item.tries}
            handle.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")


def read_annotations(path: Path) -> dict[str, Annotation]:
    """By example.

    Raises:
        IntegrityError: the file is missing, or a line is none of ours.
    """
    found = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            value = json.loads(line)
            found[value["example"]] = Annotation(value["example"], value["texts"], value["tries"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"the annotations cannot be read: {error}", place=path) from error
    return found


def annotated(example: PreferenceExample, found: Mapping[str, Annotation]) -> PreferenceExample:
    """The example with its critiques and its reasoning, where there are any; what the data bring themselves stays where there are none."""
    item = found.get(example.digest())
    if item is None:
        return example
    responses = tuple(replace(part, critique=item.texts.get(part.text, part.critique)) for part in example.responses)
    extra = {**example.extra, "reasoning": item.texts[""]} if "" in item.texts else example.extra
    return replace(example, responses=responses, extra=extra)
