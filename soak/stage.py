"""Where the trials play: a directory that goes away, a filled database of each kind, and copies of it to break."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from . import cluster, processes
from .processes import environment, manage, module
from .site import Site

SQLITE, POSTGRESQL = "sqlite", "postgresql"
TEMPLATE = "filled"


@dataclass(frozen=True)
class Database:
    """One database by its URL. It is judged by plain SQL, never by the app."""

    url: str
    # The file of an SQLite database, the name of one of PostgreSQL.
    path: Path | None = None
    name: str = ""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self.path is not None:
            with closing(sqlite3.connect(self.path, timeout=30)) as connection:
                return connection.execute(sql.replace("%s", "?"), parameters).fetchall()
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, parameters or None).fetchall()

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return self.rows(sql, parameters)[0][0]

    def faults(self) -> int:
        """Return how many faults the file has. A PostgreSQL that answers has read its own log."""
        return 0 if self.path is None else int(self.rows("PRAGMA integrity_check") != [("ok",)])


class Stage:
    """What a trial is given: the kind of database it is on, copies of a filled one, and the site served from them."""

    def __init__(self, *, runs: int, seed: int, quick: bool) -> None:
        self.runs, self.seed, self.quick = runs, seed, quick
        self.kind = SQLITE
        # A short path: the name of a socket has 107 characters at most.
        self.directory = Path(tempfile.mkdtemp(prefix="layer-runs-soak.", dir="/tmp"))  # noqa: S108
        self.directory.chmod(0o755)
        self.log = self.directory / "log"
        self.cluster: cluster.Cluster | None = None
        self._numbers = count(1)
        self._seen: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        """End every process and remove every file."""
        processes.end_all()
        if self.cluster is not None:
            self.cluster.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def chance(self) -> random.Random:
        """The same dice for the same trial of the same seed."""
        return random.Random(f"{self.seed} {self.kind}")

    @property
    def known(self) -> dict[str, Any]:
        """A session of a member of staff, a password, and what the filled database holds."""
        return self._seen[self.kind]

    def prepare(self, kinds: Sequence[str]) -> None:
        """Make the filled databases. Raises RuntimeError where one cannot be made."""
        if POSTGRESQL in kinds:
            make = cluster.available()
            if make is None:
                raise RuntimeError("PostgreSQL's server is not installed. Get it with: apt install postgresql")
            place = self.directory / "pg"
            place.mkdir()
            self.cluster = make(place)
        for self.kind in kinds:
            database = self._database(TEMPLATE, is_new=True)
            env = self.env(database)
            processes.run(manage("migrate", "--verbosity=0"), env, self.log)
            report = self.directory / f"{self.kind}.json"
            processes.run(module("soak.filling", str(self.runs), str(report)), env, self.log)
            self._seen[self.kind] = json.loads(report.read_text())
        env = self.env(self._database(TEMPLATE))
        processes.run(manage("collectstatic", "--no-input", "--verbosity=0"), env, self.log)

    @contextmanager
    def database(self, *, is_empty: bool = False, query: str = "") -> Iterator[Database]:
        """Lend a copy of the filled database, or an empty one that is migrated."""
        database = self._database(f"copy{next(self._numbers)}", is_new=is_empty, query=query)
        try:
            if is_empty:
                processes.run(manage("migrate", "--verbosity=0"), self.env(database), self.log)
            yield database
        finally:
            if database.path is None and self.cluster is not None:
                # A trial may end while the server is away; what it leaves goes with the server.
                with suppress(psycopg.OperationalError):
                    self.cluster.drop(database.name)
            elif database.path is not None:
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{database.path}{suffix}").unlink(missing_ok=True)

    def env(self, database: Database, **more: str) -> dict[str, str]:
        return environment(database.url, self.directory, **more)

    @contextmanager
    def site(self, database: Database, **more: str) -> Iterator[Site]:
        """Serve the site from a database, as it is served in production."""
        site = Site(self.env(database, **more), self.directory / f"site{next(self._numbers)}.log", self.known)
        try:
            yield site.started()
        finally:
            site.stop()

    def place(self, name: str) -> Path:
        """Return a path of its own for a file."""
        return self.directory / f"{next(self._numbers)}-{name}"

    def _database(self, name: str, *, is_new: bool = False, query: str = "") -> Database:
        if self.kind == SQLITE:
            path = self.directory / f"{name}.sqlite3"
            if name != TEMPLATE and not is_new:
                shutil.copyfile(self.directory / f"{TEMPLATE}.sqlite3", path)
            return Database(f"sqlite:///{path}{query}", path=path)
        if self.cluster is None:
            raise RuntimeError("There is no PostgreSQL.")
        if not self.cluster.is_running:
            self.cluster.start()
        if is_new:
            self.cluster.copy("template0", name)
        elif name != TEMPLATE:
            self.cluster.copy(TEMPLATE, name)
        return Database(self.cluster.url(name), name=name)
