"""Analysis of finished sweeps: pure functions of outcomes and score tables."""

from __future__ import annotations

from core.analysis.build import build_report
from core.analysis.outcomes import BaselineOutcome, ReportedRow, ReportedValue, ScoringOutcome, TrialOutcome
from core.analysis.report import Report, Row, Value, choose, to_json

__all__ = [
    "BaselineOutcome",
    "Report",
    "ReportedRow",
    "ReportedValue",
    "Row",
    "ScoringOutcome",
    "TrialOutcome",
    "Value",
    "build_report",
    "choose",
    "to_json",
]
