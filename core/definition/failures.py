"""The definition's ``failures``: what follows a failure. Nothing here is part of a trial's identity."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from core.definition.fields import Section, setting
from core.definition.scalars import parse_duration
from core.errors import CAUSES, nearest


def _causes(value: dict[str, int]) -> dict[str, int]:
    for name in value:
        if name not in CAUSES:
            close = nearest(name, CAUSES)
            raise ValueError(
                f"{name} is no cause of a failure" + (f", did you mean {close}?" if close else f"; causes: {', '.join(CAUSES)}")
            )
    return value


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


class FailuresConfig(Section):
    """What a sweep does about attempts that fail, by cause."""

    retries: Annotated[dict[str, Annotated[int, Field(ge=0)]], AfterValidator(_causes)] = setting(
        {}, doc="further attempts in a row without a newer checkpoint, by cause; a cause that is not named keeps its default"
    )
    shrink: bool = setting(
        True, doc="after cuda_oom the next attempt takes half the micro-batch at the same effective batch, then recomputes activations"
    )
    longer: float = setting(
        2.0,
        ge=1,
        doc="an attempt that reached the time limit without a checkpoint is followed by one with so many times the time; 1: never",
    )
    exclude_node: Annotated[float, BeforeValidator(_seconds)] = setting(
        6 * 3600.0, ge=0, unit="duration", doc="so long no worker is sent to a node that failed, or failed its check; 0: never"
    )
    same_bug: int = setting(
        3, ge=0, unit="trials", doc="after so many trials with the identical traceback the rest of their family is paused; 0: never"
    )
    quick: int = setting(
        10, ge=0, unit="trials", doc="after so many failures within a minute, and nothing that ever worked, all is paused; 0: never"
    )
