from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.conf import settings as site
from django.core.checks import registry, run_checks
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite

from layer_runs import checks
from layer_runs.conf import DEFAULTS

ROOT = Path(__file__).resolve().parents[2]
OWN = [checks.own_settings, checks.surroundings, checks.sqlite_locks, checks.sqlite_file, checks.in_the_open]


def found(**kwargs: object) -> dict[str, object]:
    """Run the app's checks as `manage.py check --deploy` does, and return what they say by the end of its id."""
    messages = [message for check in OWN for message in check(app_configs=None, **kwargs)]
    for message in messages:
        # Each gives its reason as a sentence, and a way out.
        assert re.search(r"\.$", message.msg), message
        assert message.hint
    return {message.id.removeprefix("layer_runs."): message for message in messages}


def ids(**kwargs: object) -> set[str]:
    return set(found(**kwargs))


@pytest.fixture
def database(monkeypatch):
    """Let the app's database be another, as far as its settings go."""

    def pretend(vendor: str, **known: object) -> None:
        other = SimpleNamespace(vendor=vendor, alias="default", settings_dict={"OPTIONS": {}} | known)
        monkeypatch.setattr(checks, "_connection", lambda: other)

    return pretend


GOOD_SQLITE = {"transaction_mode": "IMMEDIATE", "timeout": 20}


def test_a_site_that_is_set_up_well_hears_nothing():
    assert ids() == set()


def test_django_runs_every_one_of_them():
    registered = {*registry.registry.registered_checks, *registry.registry.deployment_checks}
    assert set(OWN) <= registered
    assert checks.in_the_open in registry.registry.deployment_checks
    own = {getattr(checks, name) for name in vars(checks) if hasattr(getattr(checks, name), "tags")}
    assert own == set(OWN)


def test_a_mistake_reaches_whoever_runs_manage_py_check(settings):
    settings.LAYER_RUNS = {"CRASHED_AFTR": timedelta(hours=1)}
    assert "layer_runs.E002" in {message.id for message in run_checks()}


# -- LAYER_RUNS


def test_there_is_a_shape_for_every_setting_and_the_defaults_have_it(settings):
    assert checks.SHAPES.keys() == DEFAULTS.keys()
    settings.LAYER_RUNS = dict(DEFAULTS)
    assert ids() == set()


@pytest.mark.parametrize("bad", [None, [], "CSP", 3])
def test_o02_e001_settings_that_are_no_dict(settings, bad):
    settings.LAYER_RUNS = bad
    assert ids() == {"E001"}


def test_o02_e002_a_setting_that_does_not_exist(settings):
    settings.LAYER_RUNS = {"CRASHED_AFTR": timedelta(hours=1), "OTHER": 1, 3: 4}
    messages = [message for message in checks.own_settings() if message.id == "layer_runs.E002"]
    assert [message.hint for message in messages][0] == "Did you mean CRASHED_AFTER?"
    assert len(messages) == 3


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("CRASHED_AFTER", 3_600),
        ("CRASHED_AFTER", timedelta(0)),
        ("CRASHED_AFTER", None),
        ("IMPORT_EVERY", 3_600),
        ("IMPORT_EVERY", timedelta(seconds=-1)),
        ("ADMIN_SITE", site),
        ("CSP", ["default-src 'none'"]),
        ("CSP", False),
        ("REDACT", 1),
        ("REDACT", "yes"),
        ("REDACT_ALSO", "a pattern, and not a list of them"),
        ("REDACT_ALSO", [re.compile("x")]),
    ],
    ids=str,
)
def test_o02_e003_a_setting_of_the_wrong_type(settings, name, bad):
    settings.LAYER_RUNS = {name: bad}
    assert name in found()["E003"].msg
    assert ids() == {"E003"}


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("CRASHED_AFTER", timedelta(days=1)),
        ("IMPORT_EVERY", None),
        ("IMPORT_EVERY", timedelta(hours=1)),
        ("CSP", None),
        ("CSP", "default-src 'self'"),
        ("REDACT", False),
        ("REDACT_ALSO", [r"user:\d+"]),
        ("REDACT_ALSO", (r"user:\d+",)),
        ("ADMIN_SITE", "django.contrib.admin.site"),
    ],
    ids=str,
)
def test_a_setting_of_the_right_type_passes(settings, name, good):
    settings.LAYER_RUNS = {name: good}
    assert ids() == set()


@pytest.mark.parametrize(
    "bad", ["nowhere.site", "django.contrib.admin.nothing", "site", "django.contrib.admin.AdminSite"]
)
def test_o02_e004_an_admin_site_that_is_none(settings, bad):
    settings.LAYER_RUNS = {"ADMIN_SITE": bad}
    assert ids() == {"E004"}


def test_o02_e005_a_pattern_that_is_none(settings):
    settings.LAYER_RUNS = {"REDACT_ALSO": ["fine", "(open", "*"]}
    assert [message.id for message in checks.own_settings()] == ["layer_runs.E005"] * 2


# -- what the app stands in


@pytest.fixture
def listing(monkeypatch):
    """Let the settings list other apps; the apps that are loaded stay, since nothing else is to change."""
    names = ("LAYER_RUNS", "MIDDLEWARE", "TEMPLATES", "USE_TZ", "DEBUG", "ALLOWED_HOSTS")
    kept = {name: getattr(site, name) for name in names}
    return lambda listed: monkeypatch.setattr(checks, "settings", SimpleNamespace(INSTALLED_APPS=listed, **kept))


def test_sessions_may_live_in_a_cookie_as_long_as_their_middleware_is_there(listing, settings):
    listing([name for name in site.INSTALLED_APPS if name != "django.contrib.sessions"])
    assert ids() == set()
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "sessions" not in name]
    # Django's own check, which the app leaves this to.
    assert "admin.E410" in {message.id for message in run_checks()}


@pytest.mark.parametrize("app", checks.APPS)
def test_o02_e006_an_app_that_is_missing(listing, app):
    listing([name for name in site.INSTALLED_APPS if name != app])
    assert ids() == {"E006"}
    assert found()["E006"].msg == f"The pages need {app}."


def test_an_app_may_be_listed_by_its_config(listing):
    admin, config = "django.contrib.admin", "django.contrib.admin.apps.SimpleAdminConfig"
    listing([config if name == admin else name for name in site.INSTALLED_APPS])
    assert ids() == set()


def test_o02_e007_no_htmx_middleware(settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "htmx" not in name]
    assert ids() == {"E007"}


@pytest.mark.parametrize("name", checks.CONTEXT_PROCESSORS)
def test_o02_e008_a_context_processor_that_is_missing(settings, name):
    (engine,) = settings.TEMPLATES
    others = [each for each in checks.CONTEXT_PROCESSORS if each != name]
    settings.TEMPLATES = [engine | {"OPTIONS": {"context_processors": others}}]
    assert name in found()["E008"].msg
    assert ids() == {"E008"}
    settings.TEMPLATES = [{"BACKEND": "django.template.backends.jinja2.Jinja2"}, engine]
    assert ids() == set()


def test_o02_e009_times_without_a_zone(settings):
    settings.USE_TZ = False
    assert ids() == {"E009"}


def test_o02_w005_no_guard_for_the_rest_of_the_site(settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != checks.GUARD]
    assert ids() == {"W005"}
    # It is optional: only whoever goes into the open is asked to think of it.
    assert "layer_runs.W005" not in {message.id for message in run_checks()}
    assert "layer_runs.W005" in {message.id for message in run_checks(include_deployment_checks=True)}


@pytest.mark.parametrize(
    "theirs", ["django.middleware.csp.ContentSecurityPolicyMiddleware", "csp.middleware.CSPMiddleware"]
)
def test_o02_w006_two_content_security_policies(settings, theirs):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, theirs]
    settings.LAYER_RUNS = {}
    assert ids() == {"W006"}
    for decided in (None, "default-src 'self'"):
        settings.LAYER_RUNS = {"CSP": decided}
        assert ids() == set()


# -- the database


@pytest.mark.parametrize("mode", [None, "", "DEFERRED", "EXCLUSIVE"])
def test_o02_c01_w001_transactions_that_begin_by_reading(database, mode):
    database("sqlite", OPTIONS=GOOD_SQLITE | {"transaction_mode": mode})
    assert ids() == {"W001"}
    database("sqlite", OPTIONS=GOOD_SQLITE | {"transaction_mode": "immediate"})
    assert ids() == set()


@pytest.mark.parametrize(("seconds", "said"), [(0, {"W002"}), (4.9, {"W002"}), (5, set()), (20, set())])
def test_o02_c01_w002_a_writer_without_patience(database, seconds, said):
    database("sqlite", OPTIONS=GOOD_SQLITE | {"timeout": seconds})
    assert ids() == said


@pytest.mark.django_db
@pytest.mark.parametrize("bad", ["20", "long", None, [20]], ids=str)
def test_o02_c01_e010_a_patience_that_is_no_number(tmp_path, bad):
    """With Django's own connection, since it is what cannot be made."""
    known = connections["default"].settings_dict | {"NAME": tmp_path / "runs.sqlite3"}
    odd = SQLite(known | {"ENGINE": SQLite.__module__, "OPTIONS": GOOD_SQLITE | {"timeout": bad}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_connection", lambda: odd)
        assert ids(databases=["default"]) == {"E010"}
        assert repr(bad) in found()["E010"].msg


def test_sqlite_waits_long_enough_by_itself(database):
    database("sqlite", OPTIONS={"transaction_mode": "IMMEDIATE"})
    assert ids() == set()


def test_locks_are_no_matter_on_postgresql(database):
    database("postgresql", CONN_MAX_AGE=0)
    assert ids() == set()


@pytest.fixture
def file(database, monkeypatch, tmp_path) -> Path:
    path = tmp_path / "runs.sqlite3"
    there = sqlite3.connect(path)
    other = SimpleNamespace(
        vendor="sqlite", alias="default", settings_dict={"OPTIONS": GOOD_SQLITE}, cursor=lambda: closing(there.cursor())
    )
    monkeypatch.setattr(checks, "_connection", lambda: other)
    yield path
    there.close()


def test_o02_w003_a_journal_for_which_readers_wait(file):
    assert ids(databases=["default"]) == {"W003"}
    with checks._connection().cursor() as there:
        there.execute("PRAGMA journal_mode=WAL")
    assert ids(databases=["default"]) == set()


def test_the_file_is_looked_at_only_when_databases_are_checked(file):
    assert ids(databases=None) == ids(databases=["other"]) == set()


def test_o02_w004_locks_that_cannot_be_trusted(file, monkeypatch, tmp_path):
    with closing(sqlite3.connect(file)) as there:
        there.execute("PRAGMA journal_mode=WAL")
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(checks, "MOUNTS", mounts)
    for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"):
        mounts.write_text(f"/dev/sda / ext4 rw 0 0\nhost:/export {tmp_path} {kind} rw 0 0\n")
        assert found(databases=["default"])["W004"].msg.startswith(f"The SQLite file {file} is on a network")
    for kind in ("ext4", "tmpfs", "overlay", "fuse.lxcfs"):
        mounts.write_text(f"host:/export / nfs rw 0 0\n/dev/sda {tmp_path} {kind} rw 0 0\n")
        assert ids(databases=["default"]) == set()
    mounts.unlink()
    assert ids(databases=["default"]) == set()


def test_the_nearest_mount_is_the_one_that_counts(monkeypatch, tmp_path):
    deep = tmp_path / "a b" / "c"
    deep.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(checks, "MOUNTS", mounts)
    spaced = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(f"x / ext4 rw\ny {spaced} nfs4 rw\nz {tmp_path}/a ext3 rw\nodd\n")
    assert checks.kind_of_mount(deep / "runs.sqlite3") == "nfs4"
    assert checks.kind_of_mount(tmp_path / "runs.sqlite3") == "ext4"


# -- in the open


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (["localhost", "127.0.0.1", "[::1]"], set()),
        ([], set()),
        (["localhost", "runs.example.org"], {"W007"}),
        ([".example.org"], {"W007"}),
        (["*"], {"W007", "W008"}),
    ],
    ids=str,
)
def test_o02_w007_debugging_in_the_open(settings, hosts, said):
    settings.DEBUG, settings.ALLOWED_HOSTS = True, hosts
    assert ids() == said


def test_o02_a14_w008_any_host(settings):
    settings.ALLOWED_HOSTS = ["runs.example.org", "*"]
    assert ids() == {"W008"}


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": False}, {"W009"}),
        ({"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False}, {"W009"}),
        ({"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}, set()),
        ({"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}, set()),
    ],
    ids=str,
)
def test_o02_w009_connections_that_are_kept_and_not_tried(database, known, said):
    database("postgresql", **known)
    assert ids() == said


# -- in the documentation


def test_the_documentation_lists_every_check_and_no_other():
    code = (ROOT / "layer_runs" / "checks.py").read_text()
    letters = {"_error": "E", "_warning": "W"}
    ours = {f"{letters[kind]}{int(n):03}" for kind, n in re.findall(r"(_error|_warning)\(\s*(\d+),", code)}
    listed = re.findall(r"^\| `layer_runs\.([EW]\d{3})` \|", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)
    assert len(ours) == 19
    assert sorted(listed) == sorted(ours)


def test_the_app_is_what_brings_them():
    assert apps.get_app_config("layer_runs").ready.__qualname__ == "LayerRunsConfig.ready"
