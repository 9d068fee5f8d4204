"""The top floor: the shipped definitions and the command."""

DISTRIBUTION = "rewardsweep"
