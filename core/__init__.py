"""The ground floor: no SLURM, no web, no terminal."""

DISTRIBUTION = "rewardsweep"
