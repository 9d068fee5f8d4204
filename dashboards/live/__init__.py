"""What a terminal shows while a sweep runs."""

from dashboards.live.progress import ScoringProgress, SweepProgress, TrialProgress
from dashboards.live.view import LiveView

__all__ = ["LiveView", "ScoringProgress", "SweepProgress", "TrialProgress"]
