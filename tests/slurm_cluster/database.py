"""The accounting of a test cluster: MariaDB and slurmdbd on loopback, all state in the cluster's folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

COMMANDS = ("mariadbd", "mariadb-install-db", "mariadb", "mariadb-admin", "slurmdbd", "sacctmgr", "sacct")
CONF = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
# the link to slurmdbd has a munge socket of its own: AuthInfo does not apply to it
AccountingStoragePass={folder}/run/munge.sock
AccountingStorageTRES=gres/gpu
"""
NONE = "AccountingStorageType=accounting_storage/none\n"
SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
CommitDelay=1
CommunicationParameters=NoInAddrAny
"""
# durability is bought with seconds, and nothing here has to outlive the machine
MARIADB = """\
[mariadbd]
user=root
datadir={folder}/db
socket={folder}/run/mysql.sock
pid-file={folder}/run/mariadbd.pid
log-error={folder}/log/mariadbd.log
bind-address=127.0.0.1
port={database}
skip-log-bin
skip-name-resolve
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=0
innodb_fast_shutdown=2
"""
SETUP = """\
CREATE DATABASE slurm_acct_db;
CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
"""


def configure(folder: Path, port: int) -> None:
    """Write the configuration of both; slurmdbd listens on ``port``, MariaDB on the next."""
    password = os.urandom(16).hex()
    facts = {"folder": folder, "port": port, "database": port + 1, "password": password}
    (folder / "etc" / "my.cnf").write_text(MARIADB.format(**facts), encoding="utf-8")
    # slurmdbd looks for its file beside slurm.conf, and refuses one that others can read
    secret = folder / "etc" / "slurmdbd.conf"
    secret.touch(mode=0o600)
    secret.write_text(SLURMDBD.format(**facts), encoding="utf-8")
    (folder / "etc" / "setup.sql").write_text(SETUP.format(**facts), encoding="utf-8")


def start_mariadb(folder: Path, environment: dict[str, str], wait: Callable[[Callable[[], object]], None]) -> None:
    """Start MariaDB, the first time with an empty database for slurmdbd; it writes its pid file when it listens."""
    fresh = not (folder / "db" / "mysql").is_dir()
    with open(folder / "log" / "start.log", "a", encoding="utf-8") as log:
        if fresh:
            subprocess.run(
                ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={folder}/db", "--auth-root-authentication-method=normal",
                 "--skip-test-db", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=16M"],
                env=environment, stdout=log, stderr=log, check=True,
            )  # fmt: skip
        # it does not detach by itself
        command = ["setsid", "--fork", "mariadbd", f"--defaults-file={folder}/etc/my.cnf"]
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
    client = ["--no-defaults", "-u", "root", "-S", f"{folder}/run/mysql.sock"]

    def answers() -> bool:
        return subprocess.run(["mariadb-admin", *client, "ping"], env=environment, capture_output=True, check=False).returncode == 0

    wait(answers)
    if fresh:
        setup = (folder / "etc" / "setup.sql").read_text(encoding="utf-8")
        subprocess.run(["mariadb", *client], env=environment, input=setup, text=True, capture_output=True, check=True)
