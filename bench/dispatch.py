"""How long a thousand trials take from a cold command until all are taken charge of, beside Hydra with its submitit launcher.

    python bench/dispatch.py                 # 100 and 1,000 trials, ours and Hydra (which it installs into an environment that it removes)
    python bench/dispatch.py --no-hydra      # ours alone

Both submit to the same fake ``sbatch`` on the path, which answers at once and starts nothing. Ours is `sweep launch DEF --rehearse
--cluster fake --detach` in an empty workspace: the definition is read, expanded, checked and registered, and the first chunk of
workers (64, the default limit) is queued; workers take up all of the trials by themselves. Hydra is
`app.py -m hydra/launcher=submitit_slurm +a=range(N)`, killed when its last ``sbatch`` has answered: it then waits for jobs that
nobody runs. Seconds are wall-clock, each from the start of the interpreter; one run is one sample: look at the ratio on a
shared machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
HYDRA = ("hydra-core==1.3.8", "hydra-submitit-launcher==1.2.0", "submitit==1.5.4", "setuptools")
PATIENCE_SECONDS = 600.0
SBATCH = """\
#!/bin/sh
# every call takes the next job id; the number of tasks is that of the array
id=$(cat "$FAKE/next" 2>/dev/null || echo 100)
echo $((id + 1)) > "$FAKE/next"
for last; do :; done
sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$last" >> "$FAKE/arrays"
echo "Submitted batch job $id"
"""
QUIET = "#!/bin/sh\nexit 0\n"
SCONTROL = """\
#!/bin/sh
if [ "$1" = ping ]; then echo "Slurmctld(primary) at fake is UP"; else echo "MaxArraySize            = 1001"; fi
"""
APP = """\
import hydra


@hydra.main(version_base=None, config_path=None, config_name=None)
def main(config):
    pass


main()
"""


def fake(folder: Path) -> dict[str, str]:
    """An environment in which SLURM's commands are ours."""
    programs = folder / "bin"
    programs.mkdir()
    for name, text in {"sbatch": SBATCH, "scontrol": SCONTROL, "squeue": QUIET, "sacct": QUIET, "srun": QUIET, "scancel": QUIET}.items():
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    more = {"FAKE": str(folder), "PATH": f"{programs}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder / "cache")}
    return {**os.environ, **more, "HF_HUB_OFFLINE": "1"}


def queued(folder: Path) -> int:
    """Tasks of all arrays that were submitted."""
    try:
        return sum(int(line) + 1 for line in (folder / "arrays").read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return 0


def ours(trials: int, folder: Path) -> tuple[float, str]:
    environment = fake(folder) | {"PYTHONPATH": str(REPOSITORY)}
    definition = {
        "version": 1,
        "name": "many",
        "seeds": trials,
        "trial": {"backbone": "qwen2.5-vl-3b", "data": {"sources": {"generated_images": {}}}, "train": {"epochs": 1}},
    }
    (folder / "many.yaml").write_text(json.dumps(definition), encoding="utf-8")
    (folder / "clusters.yaml").write_text("fake: {kind: slurm, limits: {workers: 64}}\n", encoding="utf-8")
    words = [sys.executable, "-m", "sweeps.cli.main", "launch", "many.yaml", "--rehearse", "--cluster", "fake", "--detach", "--no-canary"]
    began = time.monotonic()
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if ended.returncode or queued(folder) != min(64, trials):
        raise RuntimeError(f"{queued(folder)} workers were queued\n{ended.stdout}{ended.stderr}")
    plan = folder / "runs" / "sweeps" / "many-rehearsal" / "revisions" / "1" / "plan.jsonl"
    registered = len(plan.read_text(encoding="utf-8").splitlines())
    return seconds, f"{registered} trials registered, {queued(folder)} workers queued"


def hydra(trials: int, folder: Path, python: Path) -> tuple[float, str]:
    (folder / "app.py").write_text(APP, encoding="utf-8")
    words = [
        str(python), "app.py", "-m", "hydra/launcher=submitit_slurm", f"+a=range({trials})",
        f"hydra.launcher.array_parallelism={trials}",
    ]  # fmt: skip
    began = time.monotonic()
    process = subprocess.Popen(words, cwd=folder, env=fake(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while queued(folder) < trials:
            if process.poll() is not None:
                raise RuntimeError(f"Hydra ended with {queued(folder)} jobs queued: {process.communicate()[0][-2000:]}")
            if time.monotonic() - began > PATIENCE_SECONDS:
                return time.monotonic() - began, f"given up with {queued(folder)} jobs queued"
            time.sleep(0.01)
        return time.monotonic() - began, "1 array"
    finally:
        process.kill()
        process.communicate()


def peer(folder: Path) -> Path:
    """An environment with Hydra and its launcher; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *HYDRA], check=True)
    return folder / "bin" / "python"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-hydra", action="store_true", help="measure ours alone")
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        python = None if arguments.no_hydra else peer(Path(home) / "hydra")
        print(f"{'trials':>7}  {'what':<8} {'seconds':>8}")
        for trials in arguments.trials:
            measured = {}
            for name in ("ours", *([] if python is None else ["hydra"])):
                folder = Path(home) / f"{name}-{trials}"
                folder.mkdir()
                seconds, note = ours(trials, folder) if name == "ours" or python is None else hydra(trials, folder, python)
                measured[name] = seconds
                print(f"{trials:>7}  {name:<8} {seconds:>8.2f}  {note}", flush=True)
            if "hydra" in measured:
                print(f"{trials:>7}  {measured['hydra'] / measured['ours']:.1f} times")


if __name__ == "__main__":
    main()
