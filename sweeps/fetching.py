"""What jobs need from the hub, and bringing it: on a machine that reaches the hub, before anything is queued.

A definition names weights (a backbone), public data sets and benchmarks. Each becomes a :class:`Download`: a repository at a revision
and the files of it that are read. What lies here already, under a path or in the cache, is left alone, and a download that was cut off
goes on where it stopped. Beside a snapshot stands what belongs to it (:mod:`core.data.hub`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import registry
from core.data import hub
from core.data.config import PublicSetConfig
from core.data.maps import field_map
from core.definition import SweepDefinition, expand
from core.definition.trial import TrialConfig
from core.errors import EnvironmentFault, SweepError
from core.workspace.files import write_atomic


@dataclass(frozen=True)
class Download:
    """A part of a repository.

    Attributes:
        what: what it is for, such as ``backbone qwen2.5-vl-7b``.
        repository: its name on the hub.
        kind: a model or a data set.
        revision: commit, branch or tag; ``None`` is ``main``.
        files: patterns of the files.
        unpack: archives that are to be unpacked after.
    """

    what: str
    repository: str
    kind: hub.Kind
    revision: str | None
    files: tuple[str, ...]
    unpack: tuple[str, ...] = ()

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, so that everybody gets the same files."""
        return self.revision is not None and len(self.revision) == 40


@dataclass(frozen=True)
class Fetched:
    """One download that is done: the commit, its folder, files and bytes."""

    download: Download
    commit: str
    folder: Path
    files: int
    bytes: int


def needs(definition: SweepDefinition) -> list[Download]:
    """What the trials of a definition may take from the hub, each repository and revision once; a local ``path`` needs nothing."""
    found: dict[tuple[str, str | None, tuple[str, ...]], Download] = {}
    for planned in expand(definition).trials():
        config = TrialConfig.model_validate(dict(planned.config))
        for download in (*_of_trial(config), *_of_benchmarks(config, planned.evaluate)):
            found.setdefault((download.repository, download.revision, download.files), download)
    return list(found.values())


def _of_trial(config: TrialConfig) -> Iterator[Download]:
    backbone = config.backbone
    repository = backbone.HUB.get(backbone.name)
    if repository is not None and backbone.path is None:
        yield Download(f"backbone {backbone.name}", repository, "model", backbone.revision, backbone.FILES)
    for name, source in sorted(config.data.sources.items()):
        if isinstance(source, PublicSetConfig) and source.path is None and source.weight > 0:
            known = field_map(source.type)
            files = (*known.files, *known.media, *([known.roots] if known.roots else []))
            yield Download(f"data {name}", known.hub, "dataset", source.revision, files, known.unpack)


def _of_benchmarks(config: TrialConfig, evaluate: Sequence[Any]) -> Iterator[Download]:
    mixture = config.data.mixture
    asked = [dict(entry) for entry in evaluate] + [{"name": name} for name in (mixture.decontaminate if mixture is not None else ())]
    for entry in asked:
        benchmark = registry.get("benchmark", entry["name"]).load()()
        if entry.get("data") is None:
            for repository, files in getattr(benchmark, "hub_files", {}).items():
                yield Download(f"benchmark {entry['name']}", repository, "dataset", entry.get("commit"), files)


def elsewhere(definition: SweepDefinition) -> list[str]:
    """What a definition reads and no hub has in the form that is read, with the way to it."""
    out: dict[str, None] = {}
    for planned in expand(definition).trials():
        config = TrialConfig.model_validate(dict(planned.config))
        if config.backbone.name not in config.backbone.HUB and config.backbone.path is None:
            out[f"backbone {config.backbone.name}: the hub has no copy in this layout; set `backbone.path`"] = None
        for name, source in sorted(config.data.sources.items()):
            if source.type == "file" and getattr(source, "path", None) is None:
                out[f"data {name}: a file of your own; set `data.sources.{name}.path`, or put it into $SWEEP_DATA"] = None
        for entry in planned.evaluate:
            benchmark = registry.get("benchmark", entry["name"]).load()()
            if entry.get("data") is None and getattr(benchmark, "obtain", None):
                out[f"benchmark {entry['name']}: {benchmark.obtain}"] = None
    return list(out)


def plan(download: Download) -> tuple[str, dict[str, int]]:
    """The commit of a download's revision and its files with their sizes in bytes, as the hub says.

    Raises:
        EnvironmentFault: the hub cannot be reached, does not know the repository or revision, or has none of the files.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        raise EnvironmentFault(
            "fetching needs the hub, and HF_HUB_OFFLINE is set", next="unset HF_HUB_OFFLINE, on a machine that reaches the hub"
        )
    try:
        info: Any = HfApi().repo_info(
            download.repository, repo_type=download.kind, revision=download.revision or "main", files_metadata=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _fault(download, error) from error
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
    wanted = hub.matching(sizes, download.files)
    if not wanted:
        raise EnvironmentFault(
            f"{download.repository} has no file of {download.what}",
            found=f"{len(sizes)} files, such as {', '.join(sorted(sizes)[:4])}" if sizes else "no files",
            allowed=" or ".join(download.files),
        )
    return str(info.sha), {name: sizes[name] for name in wanted}


def fetch(download: Download, files: dict[str, int]) -> Fetched:
    """Bring the files and write down what belongs to the snapshot; what is here already is not brought again.

    Raises:
        EnvironmentFault: the hub does not answer, or the disk is full; the next call goes on where this one stopped.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                download.repository, repo_type=download.kind, revision=download.revision or "main", allow_patterns=list(files)
            )
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _fault(download, error) from error
    record = hub.record(folder)
    known: dict[str, int] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    record.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(record, json.dumps({**known, **files}, indent=1, sort_keys=True))
    lost = hub.incomplete(folder)
    if lost:
        raise EnvironmentFault(f"{download.repository} did not arrive whole", found=", ".join(lost[:3]), next="the same command again")
    return Fetched(download, folder.name, folder, len(files), sum(files.values()))


def _fault(download: Download, error: Exception) -> SweepError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return EnvironmentFault(
        f"{download.repository} cannot be fetched for {download.what}",
        found=f"{type(error).__name__}: {first[:200]}",
        allowed=f"a repository and revision that {os.environ.get('HF_ENDPOINT') or 'the hub'} has and lets you read",
        next="check the network, `hf auth login` for sets that ask for it, and the revision; then the same command again",
    )
