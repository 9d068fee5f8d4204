"""Benchmarks: held-out preference sets with their own metrics (no torch)."""

from __future__ import annotations

from core.evaluation.benchmarks.base import Benchmark, data_hash
from core.evaluation.benchmarks.loading import LoadedBenchmark, get, load, published_revisions, typed, unreadable

__all__ = ["Benchmark", "LoadedBenchmark", "data_hash", "get", "load", "published_revisions", "typed", "unreadable"]
