"""The index: models, opening, sync and queries."""

from core.store.index import Index, Point, Score, StateRow, SweepRow, TrialRow
from core.store.sync import Changes

__all__ = ["Changes", "Index", "Point", "Score", "StateRow", "SweepRow", "TrialRow"]
