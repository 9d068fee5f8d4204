"""Public reward models that are scored as they are: an adapter for each knows how its checkpoint gives a reward (task `external`)."""
