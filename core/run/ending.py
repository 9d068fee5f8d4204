"""What each rank of an attempt says at its end, and which of their words is the attempt's.

Every rank leaves ``rank-N.json`` in the attempt's folder. When one fails, the others are ended or find their partner gone: what they
say then is no cause. So the attempt's end is the word of a rank that failed for a reason of its own, else of one that lost
its partner, else of rank 0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.workspace.files import write_atomic

LOST_PEER = "comm_timeout"
"""The cause of a rank that only knows that another one is gone."""


def say(folder: Path, rank: int, fields: dict[str, Any]) -> None:
    """Leave a rank's last word."""
    write_atomic(folder / f"rank-{rank}.json", json.dumps(fields, indent=1), sync=True)


def said(folder: Path, ranks: int) -> dict[int, dict[str, Any]]:
    """The last words of the ranks that left any."""
    files = {rank: folder / f"rank-{rank}.json" for rank in range(ranks)}
    return {rank: json.loads(file.read_text(encoding="utf-8")) for rank, file in files.items() if file.is_file()}


def verdict(words: dict[int, dict[str, Any]]) -> dict[str, Any] | None:
    """The fields of the attempt's last line; ``None`` where the ranks' words explain nothing."""
    failed = [(rank, word) for rank, word in sorted(words.items()) if word["state"] == "failed"]
    own = [item for item in failed if item[1].get("cause") != LOST_PEER]
    if own:
        rank, word = own[0]
        return word if rank == 0 else word | {"message": f"rank {rank}: {word.get('message', '')}"}
    return words[0] if 0 in words and words[0]["state"] != "failed" else None
