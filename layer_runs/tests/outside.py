"""The test's database for processes of their own, which a test starts, interrupts and kills."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connection

from layer_runs.models import LayerRun

COMMAND = """
import sys
import django
from django.core.management import execute_from_command_line
django.setup()
print("ready", flush=True)
sys.stdin.readline()
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


def go(process: subprocess.Popen[str]) -> None:
    """Let a command begin that was started."""
    process.stdin.write("go\n")
    process.stdin.flush()


@dataclass
class OutsideWorld:
    """The test's database, for processes of their own. An SQLite test database lives in memory: a copy stands in."""

    file: Path

    @property
    def environment(self) -> dict[str, str]:
        url = f"sqlite:///{self.file}"
        if connection.vendor == "postgresql":
            name = connection.settings_dict["NAME"]
            url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
        path = os.pathsep.join(sys.path)
        return os.environ | {
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "zos_site.settings_test",
            "PYTHONPATH": path,
        }

    def send(self) -> None:
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            with closing(sqlite3.connect(self.file)) as copy:
                connection.connection.backup(copy)

    def fetch(self) -> None:
        if connection.vendor == "sqlite":
            with closing(sqlite3.connect(self.file)) as copy:
                copy.backup(connection.connection)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that is ready to go and waits for a line before it does."""
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        return process

    def count_runs(self) -> int:
        if connection.vendor == "postgresql":
            return LayerRun.objects.count()
        with closing(sqlite3.connect(self.file)) as copy:
            return copy.execute(f"SELECT count(*) FROM {LayerRun._meta.db_table}").fetchone()[0]
