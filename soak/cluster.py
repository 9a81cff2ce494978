"""A PostgreSQL of the soak's own: made in a directory, reached by a socket only, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

SETTINGS = {
    "listen_addresses": "''",
    # The soak ends processes, not the power: what was given to the system is kept.
    "fsync": "off",
    "max_connections": "40",
    "shared_buffers": "256MB",
}


def binaries() -> Path | None:
    """Return the directory of the server's programs, the newest version first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    others = [Path(path).parent for path in [shutil.which("postgres")] if path]
    return next((path for path in [*found, *others] if (path / "initdb").exists()), None)


class Cluster:
    """A server in a directory. PostgreSQL refuses to run as root, so that it belongs to its own user then."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory, self._programs = directory, programs
        self._become: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(directory, user.pw_uid, user.pw_gid)
            self._become = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        self.start()

    def url(self, name: str = "postgres") -> str:
        return f"postgres://postgres@/{name}?host={self.directory}"

    def start(self) -> None:
        said = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        said += f" -c unix_socket_directories={self.directory}"
        self._run("pg_ctl", "-l", str(self.directory / "log"), "-o", said, "-w", "start")

    def stop(self, mode: str) -> None:
        self._run("pg_ctl", "-m", mode, "-w", "stop")

    @property
    def is_running(self) -> bool:
        return (self.directory / "data" / "postmaster.pid").exists()

    def close(self) -> None:
        if self.is_running:
            self.stop("immediate")

    def connect(self, name: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(name), autocommit=True)

    def copy(self, template: str, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def drop(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.directory / "data"), *arguments]
        # A group of its own: Ctrl-C is for the soak, which stops the server itself.
        done = subprocess.run(
            command,
            cwd=self.directory,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            **self._become,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode()[-500:]}")


def available() -> Callable[[Path], Cluster] | None:
    """Return what makes a cluster in a directory, or None where no server is installed."""
    programs = binaries()
    return None if programs is None else lambda directory: Cluster(directory, programs)
