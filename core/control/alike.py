"""Failures that are alike: when the rest of a family of cells, or of the sweep, would only fail the same way. Pure.

A *family* is what the failed trials have in common: the coordinates on which all of them agree. Three trials with the identical
traceback that agree on ``head.activation=silu`` and on nothing else stop the other cells with silu; three that agree on nothing
stop the sweep. One trial of the family that has a result, or a checkpoint, is proof that the family can work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.control.derive import UnitStatus
from core.control.policy import QUICK_SECONDS, Policy
from core.definition.plan import cell_name

Entry = tuple[str, Mapping[str, Any], UnitStatus]
"""A trial: id, coordinates of its cell, status of its training."""


@dataclass(frozen=True)
class Stopped:
    """Trials that wait although they could be claimed, why, and the causes of the failures that they wait for."""

    trials: Sequence[str]
    reason: str
    causes: Sequence[str]


def stopped(trials: Sequence[Entry], policy: Policy) -> list[Stopped]:
    """The groups of claimable trials that should wait for a person."""
    if policy.config.quick and (found := _quick(trials, policy.config.quick)) is not None:
        return [found]
    return _families(trials, policy.config.same_bug) if policy.config.same_bug else []


def _works(status: UnitStatus) -> bool:
    return status.state == "completed" or bool(status.last and status.last.checkpoint)


def _quick(trials: Sequence[Entry], limit: int) -> Stopped | None:
    """All that is claimable, where many trials failed at once and not one has ever got anywhere."""
    failed = [entry for entry in trials if entry[2].state == "failed" and _was_quick(entry[2])]
    waiting = [id for id, _, status in trials if status.claimable]
    if len(failed) < limit or not waiting or any(_works(status) for _, _, status in trials):
        return None
    last = failed[-1]
    words = f"{len(failed)} trials failed within {QUICK_SECONDS:g} s of their start and none has worked; see `sweep explain {last[0][:10]}`"
    return Stopped(waiting, words, _causes(failed))


def _was_quick(status: UnitStatus) -> bool:
    last = status.last
    if last is None or last.last is None:
        return False
    # both by the attempt's own clock; one that never said `started` was quick
    return last.started is None or last.last - float(last.started["t"]) < QUICK_SECONDS


def _families(trials: Sequence[Entry], limit: int) -> list[Stopped]:
    alike: dict[str, list[Entry]] = defaultdict(list)
    for entry in trials:
        last = entry[2].last
        if entry[2].state == "failed" and last is not None and last.signature:
            alike[last.signature].append(entry)
    found, taken = [], set[str]()
    for group in alike.values():
        if len(group) < limit:
            continue
        common = {path: value for path, value in group[0][1].items() if all(cell.get(path) == value for _, cell, _ in group)}
        family = [entry for entry in trials if all(entry[1].get(path) == value for path, value in common.items())]
        waiting = [id for id, _, status in family if status.claimable and id not in taken]
        if not waiting or any(_works(status) for _, _, status in family):
            continue
        taken.update(waiting)
        message = group[-1][2].last.message if group[-1][2].last is not None else ""
        where = f" with {cell_name(common)}" if common else ""
        reason = f"{len(group)} trials{where} failed with the identical traceback ({message}); see `sweep logs {group[-1][0][:10]}`"
        found.append(Stopped(waiting, reason, _causes(group)))
    return found


def _causes(failed: Sequence[Entry]) -> list[str]:
    return sorted({status.cause for _, _, status in failed if status.cause})
