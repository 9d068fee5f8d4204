"""The dashboard: pages over the index and the workspace's files, served read-only. ``docs/design/dashboard.md`` says why it is built so."""
