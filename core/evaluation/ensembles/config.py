"""Typed configurations of ensemble rules (no torch here; see :mod:`core.registry`)."""

from __future__ import annotations

from typing import ClassVar, Literal

from core.definition.ensembling import EnsembleRuleConfig
from core.definition.fields import identity
from core.registry import register

PAPER = "arXiv 2509.16127, section 4.7"
REWARDBENCH = "RewardBench, analysis/run_ensemble_offline.py"


class MeanConfig(EnsembleRuleConfig):
    """The mean of the members' scores."""

    name: Literal["mean"] = identity("mean", doc="the mean of the members' scores", source=PAPER)


class AccuracyWeightedConfig(EnsembleRuleConfig):
    """The mean of the members' scores, each weighted by its accuracy on the validation pairs."""

    VALIDATION: ClassVar = ("accuracy",)

    name: Literal["accuracy_weighted"] = identity("accuracy_weighted", doc="weights in proportion to validation accuracy", source=PAPER)


class ConfidenceWeightedConfig(EnsembleRuleConfig):
    """The mean of the members' scores, each weighted by its mean margin on the validation pairs."""

    VALIDATION: ClassVar = ("margin",)

    name: Literal["confidence_weighted"] = identity(
        "confidence_weighted", doc="weights in proportion to the mean validation margin", source=PAPER
    )


class MinConfig(EnsembleRuleConfig):
    """The lowest of the members' scores."""

    name: Literal["min"] = identity("min", doc="the lowest score of the members", source=REWARDBENCH)


class MeanMinusStdConfig(EnsembleRuleConfig):
    """The mean of the members' scores less their (population) standard deviation."""

    name: Literal["mean_minus_std"] = identity("mean_minus_std", doc="the mean less the standard deviation", source=REWARDBENCH)


class RouteConfig(EnsembleRuleConfig):
    """Text examples go to the members that answer on text alone, where there are any, all others to the rest; the mean of those asked."""

    name: Literal["route"] = identity(
        "route", doc="text to the members `on: text`, the rest to the others", source="arXiv 2509.16127, section 4.5"
    )


class VoteConfig(EnsembleRuleConfig):
    """The majority of the members, pair by pair."""

    PAIRS: ClassVar = True

    name: Literal["vote"] = identity("vote", doc="the majority, pair by pair")
    ties: Literal["tie", "margin", "accuracy"] = identity(
        "tie",
        doc=(
            "as many votes for one response as for the other: `tie` leaves them equal, `margin` gives a casting vote to the sign of the "
            "mean margin, `accuracy` to the side whose voters have the higher sum of validation accuracies"
        ),
    )
    of_samples: int | None = identity(
        None, ge=1, unit="samples", doc="so many samples of each member are a vote each (`vote@5`); null: one vote a member"
    )

    @property
    def samples(self) -> int | None:
        """The samples that vote."""
        return self.of_samples

    @property
    def validation(self) -> tuple[str, ...]:
        """Accuracies where they decide ties."""
        return ("accuracy",) if self.ties == "accuracy" else ()

    @property
    def label(self) -> str:
        """``vote``, ``vote@5``, ``vote[ties=margin]``, ``vote@5[ties=margin]``."""
        return self.name + (f"@{self.of_samples}" if self.of_samples else "") + (f"[ties={self.ties}]" if self.ties != "tie" else "")


for _name, _config in (
    ("mean", MeanConfig),
    ("accuracy_weighted", AccuracyWeightedConfig),
    ("confidence_weighted", ConfidenceWeightedConfig),
    ("min", MinConfig),
    ("mean_minus_std", MeanMinusStdConfig),
    ("route", RouteConfig),
    ("vote", VoteConfig),
):
    register("ensemble_rule", _name, _config, f"core.evaluation.ensembles.rules:{_name if _name != 'min' else 'lowest'}")
