"""Compares real JSON with a documented example: the same keys at every level, the same kinds of values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from docs_pages import REFERENCE, blocks

PAGE = REFERENCE / "json.md"
EXAMPLES: dict[str, Any] = {
    block.note.removeprefix("output: "): json.loads(block.text) for block in blocks(PAGE, "json") if block.note.startswith("output: ")
}
MAPS = (
    "counts",
    "ended",
    "scorings",
    "cell",
    "metrics",
    "scores",
    "why",
    "parts",
    "told",
    "chosen",
    "importance",
    "overlaps",
    "skipped",
    "by_length",
    "by_source",
    "attempts",
    "wasted",
    "by_user",
    "by_account",
    "by_sweep",
    "calls",
)
"""Mappings whose keys are data: only their values are compared."""
DATA = ("config", "default")
"""What may be anything."""


def differences(example: Any, real: Any, where: str = "") -> Iterator[str]:
    """What a reader of the example would be surprised by; null may stand for anything."""
    if example is None or real is None or where.rsplit(".", 1)[-1] in DATA:
        return
    if isinstance(example, dict) and isinstance(real, dict):
        if where.rsplit(".", 1)[-1] in MAPS:
            for key, value in real.items():
                for known in [example[key]] if key in example else list(example.values())[:1]:
                    yield from differences(known, value, f"{where}[{key}]")
            return
        if example.keys() != real.keys():
            yield f"{where or 'top'}: documented {sorted(example)}, found {sorted(real)}"
            return
        for key in example:
            yield from differences(example[key], real[key], f"{where}.{key}")
    elif isinstance(example, list) and isinstance(real, list):
        for index, value in enumerate(real):
            for known in example[:1]:
                yield from differences(known, value, f"{where}[{index}]")
    elif kind(example) != kind(real):
        yield f"{where}: documented {example!r}, found {real!r}"


def kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
