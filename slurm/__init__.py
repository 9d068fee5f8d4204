"""The cluster edge: submission, polling, workers' allocations."""

DISTRIBUTION = "rewardsweep"
