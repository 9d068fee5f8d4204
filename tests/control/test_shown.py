"""What the attempts of a sweep say about the workers to come: by all of them, whatever became of them and whatever time they were given."""

from __future__ import annotations

from core.control.decide import SweepState, TrialStatus
from core.control.derive import AttemptView, UnitStatus, derive
from core.control.ports import Submit
from core.control.tick import _shown
from core.definition.plan import PlannedTrial, Shape

EIGHT = Shape(gpus=8)
SAVED = AttemptView(1, "preempted", evidence="x", checkpoint=100, saving=400.0, load=60.0, measured={"step_seconds": 5.0}, started={"t": 0})


def trial(number: int, status: UnitStatus, shape: Shape = EIGHT) -> TrialStatus:
    return TrialStatus(PlannedTrial(f"{number:032x}", {}, 0, {}, shape), status)


def test_a_checkpoint_of_an_earlier_attempt_counts() -> None:
    """The last one may not have come to its first save yet, and the next is warned too late for the one that it must make."""
    last = AttemptView(2, "preempted", evidence="x", started={"t": 0})
    found = _shown(SweepState([trial(1, derive([SAVED, last], published=False))], {}, []), Submit(EIGHT, 1), 1)
    assert (found.saving, found.useful) == (400.0, 465.0)


def test_a_trial_that_is_given_more_time_saves_as_long_as_the_others() -> None:
    late = AttemptView(1, "time_limit", evidence="x", owner={"limit": 14_400.0}, started={"t": 0})
    state = SweepState([trial(1, derive([late], published=False)), trial(2, derive([SAVED], published=False))], {}, [])
    longer = state.trials[0].shape
    assert longer != EIGHT and _shown(state, Submit(longer, 1), 1).saving == 400.0
    assert _shown(state, Submit(Shape(gpus=4), 1), 1).saving == 0.0, "another shape says nothing"
