"""What calls ``sweep nightly tick`` again and again, in the form that a site has: pure functions of paths and names.

A pass decides by itself whether a night is open, so every timer is the same small interval, all day: a change of the clocks, or a host
that was off, needs nothing from it.
"""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Mapping
from pathlib import Path

from slurm.profile import Keeper, Profile

MINUTES = 10


def command(sweep: str, workspace: Path, *words: str) -> str:
    """The command of a pass, as a shell takes it."""
    return shlex.join([sweep, "nightly", *(words or ("tick",)), "--workspace", str(workspace)])


def systemd(sweep: str, workspace: Path, environment: Mapping[str, str]) -> str:
    """A service and a timer of the user, each under the name of its file."""
    about = f"Description=Nightly grids of {workspace}".replace("%", "%%")
    quoted = [f'Environment="{name}={value}"'.replace("%", "%%") for name, value in sorted(environment.items())]
    return "\n".join(
        [
            "# ~/.config/systemd/user/sweep-nightly.service",
            "[Unit]",
            about,
            "",
            "[Service]",
            "Type=oneshot",
            *quoted,
            f"ExecStart={command(sweep, workspace).replace('%', '%%')}",
            "",
            "# ~/.config/systemd/user/sweep-nightly.timer",
            "[Unit]",
            about,
            "",
            "[Timer]",
            f"OnCalendar=*:0/{MINUTES}",
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
            "",
            "# then: systemctl --user daemon-reload && systemctl --user enable --now sweep-nightly.timer",
            '# and, so that it runs while you are logged out: loginctl enable-linger "$USER"',
            "",
        ]
    )


def cron(sweep: str, workspace: Path, environment: Mapping[str, str]) -> str:
    """Lines for ``crontab -e``; ``%`` means a new line to cron."""
    log = workspace / "nights" / "cron.log"
    line = f"{command(sweep, workspace)} >> {shlex.quote(str(log))} 2>&1".replace("%", r"\%")
    exports = [f"{name}={value}" for name, value in sorted(environment.items())]
    return "\n".join(["# add with: crontab -e", *exports, f"*/{MINUTES} * * * * {line}", ""])


def scrontab(sweep: str, workspace: Path, environment: Mapping[str, str], profile: Profile) -> str:
    """Lines for ``scrontab -e``: SLURM runs each pass as a job of one core on any node."""
    options = {
        "job-name": "rs-nightly-tick", "time": f"00:{MINUTES:02d}:00", "cpus-per-task": "1", "partition": _keeper(profile).partition,
        "account": profile.account, "qos": _keeper(profile).qos, "output": str(workspace / "nights" / "scrontab.log"),
        "open-mode": "append",
    }  # fmt: skip
    lines = [f"#SCRON --{name}={_value(name, value)}" for name, value in options.items() if value is not None]
    exports = "".join(f"{name}={shlex.quote(value)} " for name, value in sorted(environment.items()))
    return "\n".join(["# add with: scrontab -e", *lines, f"*/{MINUTES} * * * * {exports}{command(sweep, workspace)}", ""])


def keeper(sweep: str, workspace: Path, environment: Mapping[str, str], profile: Profile) -> str:
    """The batch script of a job of one core that serves the nights and submits its own successor: ``| sbatch``.

    The successor is the script itself: what the profile was made from (the project's folder, the user's configuration) need not be on
    the node. It waits until this job has ended, however it ends, and begins no sooner than a pass after it: a keeper that cannot do its
    work (a workspace that is not there, an environment that has moved) fails once in :data:`MINUTES`, and not as fast as SLURM
    starts jobs. ``singleton`` lets two never run at once.
    """
    given = _keeper(profile)
    digest = hashlib.sha256(str(workspace).encode()).hexdigest()[:6]
    options = {
        "job-name": f"rs-keeper-{digest}", "time": str(math.ceil(given.time / 60)), "cpus-per-task": "1",
        "mem": f"{round(given.memory * 1024)}M", "partition": given.partition, "account": profile.account, "qos": given.qos,
        "dependency": "singleton", "output": str(workspace / "nights" / "keeper.log"), "open-mode": "append", "chdir": str(workspace),
    }  # fmt: skip
    lines = [f"#SBATCH --{key}={_value(key, value)}" for key, value in options.items() if value is not None]
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "#SBATCH --no-requeue",
            *(f"export {key}={shlex.quote(value)}" for key, value in sorted((dict(environment) | dict(profile.env)).items())),
            *profile.setup,
            f'sbatch --begin=now+{MINUTES}minutes --dependency="afterany:$SLURM_JOB_ID,singleton" "$0"',
            f"exec {command(sweep, workspace, 'serve')}",
            "",
        ]
    )


def _value(option: str, value: str) -> str:
    """As a line of options takes it; in the name of a file, ``%`` begins a pattern."""
    return shlex.quote(value.replace("%", "%%") if option == "output" else value)


def _keeper(profile: Profile) -> Keeper:
    return profile.keeper or Keeper()
