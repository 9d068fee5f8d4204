"""What people look at: reports, live views, MLflow."""

DISTRIBUTION = "rewardsweep"
