"""`make run`: from nothing to a served monitor. State lives in `var/`; every start sets a new password."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import string
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = BASE_DIR / "var"
HOST = "127.0.0.1"
# What `import_zos` answers when it has read the database but some of its rows were odd.
IMPORTED_WITH_ODD_ROWS = 1


class CannotRun(Exception):
    """Why the site does not start, in a sentence, and the exit code that says so."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


def main() -> None:
    os.umask(0o077)
    try:
        port = free_port(os.environ.get("PORT") or "8000")
        zos_db = find_zos_db(os.environ.get("ZOS_DB", ""))
        STATE_DIR.mkdir(exist_ok=True)
        configure(zos_db)
        prepare(zos_db)
        username, password = create_user()
    except CannotRun as reason:
        if str(reason):
            sys.stderr.write(f"{reason}\n")
        sys.exit(reason.code)
    sys.stdout.write(f"URL: http://{HOST}:{port}/layer-runs/\nUser: {username}\nPassword: {password}\n")
    sys.stdout.flush()
    serve(port)


def free_port(text: str) -> int:
    """Return the port to serve on. Raises CannotRun before anything slow has happened."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise CannotRun(f"PORT is {text!r}: give a number from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(text)))
        except PermissionError:
            raise CannotRun(f"Port {text} may not be used by this user: make run PORT=8000") from None
        except OSError:
            raise CannotRun(
                f"Port {text} is taken by another program: stop it, or choose another with make run PORT=8001"
            ) from None
    return int(text)


def find_zos_db(text: str) -> Path | None:
    """Return the Zos database asked for, relative to here or to where make was called."""
    if not text:
        return None
    path = Path(text).expanduser()
    asked_from = [Path.cwd(), Path(os.environ.get("CALLED_FROM") or ".")]
    for candidate in (place / path for place in asked_from):
        if candidate.exists():
            return candidate.resolve()
    raise CannotRun(f"There is no file {path}: ZOS_DB is the path of a Zos database.", code=2)


def configure(zos_db: Path | None) -> None:
    """Say in the environment what the settings read; what the user has set stays."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "zos_site.settings"
    os.environ["DJANGO_SECRET_KEY"] = os.environ.get("DJANGO_SECRET_KEY") or secret_key()
    os.environ["DATABASE_URL"] = os.environ.get("DATABASE_URL") or sqlite_url(zos_db)
    os.environ["DJANGO_CREATE_DATABASE"] = "1"


def secret_key(path: Path | None = None) -> str:
    """Return the key of this checkout, made once and readable only by its owner."""
    path = path or STATE_DIR / "secret-key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_text().strip()
        if len(key) >= 50:
            return key
        # Cut off by a full disk or a kill while it was first written.
        path.unlink()
        return secret_key(path)
    with os.fdopen(handle, "w") as file:
        file.write(key := secrets.token_urlsafe(50))
    return key


def sqlite_url(zos_db: Path | None) -> str:
    """Return the URL of the demo database, or of the one that belongs to this Zos database alone."""
    name = "demo"
    if zos_db:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", zos_db.stem)[:40]
        name = f"{stem}-{hashlib.sha256(os.fsencode(zos_db)).hexdigest()[:8]}"
    return f"sqlite:///{quote(str(STATE_DIR / name))}.sqlite3"


def prepare(zos_db: Path | None) -> None:
    """Bring the database and the static files up to date, then fill in what is to be shown."""
    import django
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import call_command
    from django.db import DatabaseError

    from .databases import why_not

    try:
        django.setup()
        call_command("migrate", interactive=False, verbosity=0)
    except ImproperlyConfigured as error:
        raise CannotRun(str(error)) from error
    except DatabaseError as error:
        reason = why_not(settings.DATABASES["default"])
        raise CannotRun(reason or f"The database does not answer: {error}") from error
    call_command("collectstatic", interactive=False, verbosity=0)
    if zos_db:
        import_runs(zos_db)
    elif may_hold_demo_runs():
        call_command("seed_demo_runs")


def import_runs(zos_db: Path) -> None:
    # A process of its own: its progress bar, its summary and its exit code are the user's to see.
    manage = [sys.executable, str(BASE_DIR / "manage.py")]
    code = subprocess.run([*manage, "import_zos", str(zos_db)], check=False).returncode  # noqa: S603
    if code not in {0, IMPORTED_WITH_ODD_ROWS}:
        raise CannotRun("", code=abs(code))


def may_hold_demo_runs() -> bool:
    """Whether this database holds nothing but demo runs: a user's own are never mixed with invented ones."""
    from layer_runs.demo import IS_DEMO
    from layer_runs.models import LayerRun

    return not LayerRun.objects.exclude(IS_DEMO).exists()


def create_user() -> tuple[str, str]:
    """Give the administrator a new password and return both name and password."""
    from django.contrib.auth import get_user_model

    username = os.environ.get("DJANGO_SUPERUSER_USERNAME") or "admin"
    password = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))
    user, _ = get_user_model().objects.get_or_create(username=username)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(password)
    user.save()
    return username, password


def serve(port: int) -> None:
    """Become the server."""
    from gunicorn.config import make_settings

    options = ["--worker-class=gthread", "--workers=2", "--threads=4", "--log-level=warning"]
    # By default a header of this machine may say where the site is mounted; any but the right one is a server error.
    options.append("--forwarder-headers=")
    # A selection of many values is a long address; this is the longest line that it takes.
    options.append("--limit-request-line=8190")
    # Newer ones open a socket in the user's home, which nobody asked for.
    if any("--no-control-socket" in (setting.cli or ()) for setting in make_settings().values()):
        options.append("--no-control-socket")
    # What was made by now is there: the server itself never makes a database.
    os.environ.pop("DJANGO_CREATE_DATABASE", None)
    command = [sys.executable, "-m", "gunicorn", *options, f"--bind={HOST}:{port}", "zos_site.wsgi:application"]
    os.execv(sys.executable, command)  # noqa: S606


if __name__ == "__main__":
    main()
