"""A real SLURM on this machine's loopback, without systemd: munge, slurmctld, accounting and virtual nodes, all state in one folder.

``python tests/slurm_cluster/cluster.py up|down|env|status [FOLDER]`` by hand (``make slurm-up``, ``make slurm-down``); the tests
use :class:`Cluster`. It needs root and Debian's packages ``slurm-wlm``, ``slurmdbd``, ``mariadb-server`` and ``munge``.

Each virtual node runs in UTS and mount namespaces of its own, so that its processes see another host name, as on a real cluster: what
proves a process dead on one host proves nothing on another. The partition ``high`` preempts ``low`` (REQUEUE, with a
warning signal). Accounting (slurmdbd on MariaDB) can be left out, or killed on the way: whoever reads this cluster must work with
``squeue`` alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import database

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun", "unshare")
PACKAGES = "slurm-wlm slurmdbd slurm-wlm-mysql-plugin mariadb-server munge"
CONF = """\
ClusterName=rewardsweep
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SrunPortRange=30000-32700
AuthType=auth/munge
# cred_expire is also the delay before a requeued job may start again; two minutes where nothing is said
AuthInfo=socket={folder}/run/munge.sock,cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
MailProg=/bin/true
PlugStackConfig=/dev/null
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=100000,bf_resolution=1,bf_continue
MaxArraySize={array_size}
MinJobAge={keep}
JobRequeue=1
KillWait=5
CompleteWait=0
BatchStartTimeout=10
MessageTimeout=10
TCPTimeout=2
SlurmctldTimeout=30
SlurmdTimeout=8
InactiveLimit=0
JobCompType=jobcomp/none
{accounting}\
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
"""
NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} SocketsPerBoard=1 CoresPerSocket={cpus}"
    " ThreadsPerCore=1 RealMemory=16000 Gres=gpu:h200:{gpus} State=UNKNOWN\n"
)
PARTITIONS = """\
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP OverSubscribe=NO
PartitionName=low Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=15
PartitionName=high PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Why no cluster can be started here, or ``None``."""
    if os.geteuid() != 0:
        return "starting slurmctld and virtual nodes needs root"
    absent = [name for name in (*COMMANDS, *database.COMMANDS) if shutil.which(name, path=search()) is None]
    return f"not installed: {', '.join(absent)} (apt-get install -y {PACKAGES})" if absent else None


def search() -> str:
    """The path on which daemons are looked for."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])


@dataclass
class Cluster:
    """One cluster; several run side by side, each on ports of its own.

    Attributes:
        folder: holds everything of it.
        nodes: how many virtual nodes.
        cpus: of each node, as SLURM is told.
        gpus: of each node, null devices.
        array_size: MaxArraySize.
        keep: seconds that an ended job stays known (MinJobAge).
        accounting: whether there is a slurmdbd.
    """

    folder: Path
    nodes: int = 4
    cpus: int = 2
    gpus: int = 2
    array_size: int = 1001
    keep: int = 300
    accounting: bool = True

    @property
    def conf(self) -> Path:
        """Its slurm.conf."""
        return self.folder / "etc" / "slurm.conf"

    def environment(self) -> dict[str, str]:
        """The environment in which SLURM's commands reach this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.conf), "PATH": search()}

    def run(self, *command: str, timeout: float = 30) -> str:
        """Run one of SLURM's commands; returns what it printed."""
        ended = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=timeout, check=False)
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)}: {ended.stderr or ended.stdout}")
        return ended.stdout

    def up(self) -> None:
        """Start what is not running; returns when every node can take jobs."""
        if not self.conf.exists():
            self._configure()
        for name in self._daemons():
            self.start(name)
        for name in self._names():
            with contextlib.suppress(RuntimeError):  # it was never down
                self.run("scontrol", "update", f"nodename={name}", "state=resume")
        idle = ("idle", "mix", "alloc", "comp")
        wait(lambda: sum(state in idle for state in self.run("sinfo", "-hN", "-p", "low", "-o", "%t").split()) == len(self._names()))

    def down(self) -> None:
        """End all of it, jobs first, and remove the folder."""
        if not self.conf.exists():
            return
        # pids are read first: a slurmd removes its file at the start of a slow exit
        pids = [pid for name in reversed(self._daemons()) if (pid := self._pid(name)) is not None]
        steps = self._of_this_cluster()
        for pid in [*steps, *pids]:
            kill(pid, signal.SIGKILL if pid in steps else signal.SIGTERM)
        deadline = time.monotonic() + 2  # nothing that they would still save is kept
        while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in [*pids, *self._of_this_cluster()]:
            kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name: str) -> None:
        """Start one daemon: ``munged``, ``mariadbd``, ``slurmdbd``, ``slurmctld`` or a node; each writes its pid file."""
        if self._pid(name) is not None:
            return
        run = self.folder / "run"
        (run / f"{name}.pid").unlink(missing_ok=True)
        if name == "munged":
            self._daemon(
                "munged", f"--key-file={self.folder}/munge/key", f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid",
                f"--log-file={self.folder}/log/munged.log", f"--seed-file={self.folder}/munge/seed", "--force",
            )  # fmt: skip
            wait(lambda: (run / "munge.sock").exists())
        elif name == "mariadbd":
            database.start_mariadb(self.folder, self.environment(), wait)
        elif name == "slurmdbd":
            self._daemon("slurmdbd")
            wait(lambda: self.run("sacctmgr", "--noheader", "show", "cluster") or True)
            if "rewardsweep" not in self.run("sacctmgr", "--noheader", "show", "cluster", "format=cluster%20"):
                # before slurmctld starts, which would otherwise try again for a while
                self.run("sacctmgr", "--immediate", "--quiet", "add", "cluster", "rewardsweep")
                self.run("sacctmgr", "--immediate", "--quiet", "add", "account", "lab")
                self.run("sacctmgr", "--immediate", "--quiet", "add", "user", "root", "account=lab", "defaultaccount=lab")
        elif name == "slurmctld":
            self._daemon("slurmctld", "-f", str(self.conf))
            wait(lambda: "UP" in self.run("scontrol", "ping"))
        else:
            (self.folder / "spool" / name).mkdir(parents=True, exist_ok=True)
            # a host name that the node itself must be able to look up
            inside = f"mount --bind {self.folder}/etc/hosts /etc/hosts && hostname {name} && exec slurmd -f {self.conf} -N {name}"
            self._daemon("unshare", "--uts", "--mount", "sh", "-c", inside)

    def kill(self, name: str) -> None:
        """Kill one daemon as a crash would."""
        pid = self._pid(name)
        if pid is not None:
            kill(pid, signal.SIGKILL)
            wait(lambda: not alive(pid))

    def status(self) -> dict[str, int | None]:
        """The pid of each daemon, ``None`` where it is down."""
        return {name: self._pid(name) for name in self._daemons()}

    def _daemons(self) -> list[str]:
        return ["munged", *(["mariadbd", "slurmdbd"] if self.accounting else []), "slurmctld", *self._names()]

    def _names(self) -> list[str]:
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    def _daemon(self, *command: str) -> None:
        with open(self.folder / "log" / "start.log", "a", encoding="utf-8") as log:
            ended = subprocess.run(command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        if ended.returncode:
            raise RuntimeError(f"{command[0]} did not start: see {self.folder / 'log'}")

    def _configure(self) -> None:
        for name in ("etc", "run", "log", "munge", "state", "spool", "dev", "db"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        for number in range(self.gpus):
            # what slurmd takes for a GPU must be a device: the null device will do
            os.mknod(self.folder / "dev" / f"gpu{number}", 0o20666, os.makedev(1, 3))
        port = free_ports(self.nodes + 3)
        accounting = database.CONF.format(folder=self.folder, port=port + self.nodes + 1) if self.accounting else database.NONE
        if self.accounting:
            database.configure(self.folder, port + self.nodes + 1)
        text = CONF.format(folder=self.folder, port=port, array_size=self.array_size, keep=self.keep, accounting=accounting)
        for number, name in enumerate(self._names(), start=1):
            text += NODE.format(name=name, port=port + number, cpus=self.cpus, gpus=self.gpus)
        names = f"node[1-{self.nodes}]" if self.nodes > 1 else "node1"
        devices = f"gpu[0-{self.gpus - 1}]" if self.gpus > 1 else "gpu0"
        gres = f"AutoDetect=off\nNodeName={names} Name=gpu Type=h200 File={self.folder}/dev/{devices}\n"
        (self.folder / "etc" / "gres.conf").write_text(gres, encoding="utf-8")
        hosts = Path("/etc/hosts").read_text(encoding="utf-8") + f"127.0.0.1 {' '.join(self._names())}\n"
        (self.folder / "etc" / "hosts").write_text(hosts, encoding="utf-8")
        self.conf.write_text(text + PARTITIONS, encoding="utf-8")

    def _pid(self, name: str) -> int | None:
        try:
            pid = int((self.folder / "run" / f"{name}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if alive(pid) and self._is_mine(pid) else None

    def _is_mine(self, pid: int) -> bool:
        """A recycled pid is never touched: a process is ours where its command or environment names our folder."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"{self.folder}/".encode() in words

    def _of_this_cluster(self) -> list[int]:
        """Processes of its jobs, found by the slurm.conf in their environment; daemons and this process are left out."""
        daemons = {pid for pid in self.status().values() if pid is not None}
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            try:
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            in_job = any(v.startswith(b"SLURM_JOB_ID=") for v in variables)
            step = Path(f"/proc/{pid}/comm").read_text().strip() == "slurmstepd" if Path(f"/proc/{pid}/comm").exists() else False
            if f"SLURM_CONF={self.conf}".encode() in variables and (in_job or step) and pid not in daemons and pid != os.getpid():
                found.append(pid)
        return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def kill(pid: int, number: int) -> None:
    """Signal a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def wait(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until ``condition`` holds; an error of one of SLURM's commands counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except RuntimeError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the cluster did not come up in time; its logs lie in the folder's log/")


def free_ports(count: int) -> int:
    """The first of ``count`` free ports in a row, below the ephemeral range."""
    for base in range(10000 + os.getpid() % 500 * 20, 30000, 20):
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    raise RuntimeError("no free ports")


def main(words: Sequence[str]) -> int:
    """The command by hand."""
    action, folder = words[0], Path(words[1] if len(words) > 1 else "runs/slurm").absolute()
    cluster = Cluster(folder)
    if action == "up":
        why = missing()
        if why is not None:
            print(why, file=sys.stderr)
            return 3
        cluster.up()
        print(f"export SLURM_CONF={cluster.conf}")
    elif action == "down":
        cluster.down()
    elif action == "status":
        print("\n".join(f"{name:<10} {pid or 'down'}" for name, pid in cluster.status().items()))
    else:
        print("up, down or status", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["status"]))
