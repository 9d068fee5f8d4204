"""MLflow: the tracker that mirrors trials into it, links to its runs, and its own user interface."""
