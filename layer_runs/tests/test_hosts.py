"""The app in other people's sites: their urls, users, templates, databases and languages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib import admin
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse
from django.urls import include, path, reverse, set_script_prefix

from layer_runs import urls
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

ROOT = Path(__file__).resolve().parents[2]
# The urlconf of a host that mounts the app deep down; the tests that use it make this module their own.
urlpatterns = [path("admin/", admin.site.urls), path("a/b/", include("layer_runs.urls"))]


@pytest.fixture
def run(db):
    run = LayerRunFactory(id="run", failing=True, estimated_cost_usd="1234.5", tokens_total=1_234_567)
    LayerRunFactory(id="before", ago=run.started_at - run.started_at)
    LlmCallFactory(run=run)
    return run


def addresses() -> list[str]:
    """Return every address of the app, as this process mounts it."""
    given = {"kind": "json", "pk": "run"}
    return [
        reverse(f"layer_runs:{part.name}", kwargs={name: given[name] for name in part.pattern.converters})
        for part in urls.urlpatterns
    ]


def ask_all(client, *, prefix: str = "") -> dict[str, str]:
    """Ask for every page; return what was answered, by address."""
    answers = {}
    for address in addresses():
        response = client.get(address.removeprefix(prefix), **({"SCRIPT_NAME": prefix} if prefix else {}))
        assert response.status_code == 200, address
        answers[address] = response.getvalue().decode()
    return answers


def links(page: str) -> list[str]:
    """Return the addresses of the app's own pages in a page."""
    found = re.findall(r'(?:href|action|hx-get|data-url)="([^"#]*)"', page)
    return [link for link in found if "/static/" not in link and "/admin/" not in link and link.startswith("/")]


def test_o08_under_an_address_of_the_hosts_own_all_links_stay_below_it(run, staff_client, settings):
    settings.ROOT_URLCONF = __name__
    answers = ask_all(staff_client)
    assert all(address.startswith("/a/b/") for address in answers)
    for page in answers.values():
        assert [link for link in links(page) if not link.startswith(("/a/b/", "/a/b?"))] in ([], ["/"])


def test_o08_behind_a_prefix_of_the_server_all_links_begin_with_it(run, staff_client, settings):
    settings.FORCE_SCRIPT_NAME = "/team"
    settings.STATIC_URL = "/team/static/"
    set_script_prefix("/team/")
    try:
        answers = ask_all(staff_client, prefix="/team")
        headers = {
            "HX-Request": "true",
            "HX-Target": "run-results",
            "HX-Current-URL": "http://testserver/team/layer-runs/",
        }
        fragment = staff_client.get("/layer-runs/?status=failed", headers=headers)
    finally:
        set_script_prefix("/")
    for page in answers.values():
        assert not [link for link in links(page) if not link.startswith("/team/")]
    assert fragment.headers["HX-Push-Url"] == "/team/layer-runs/?status=failed"


@pytest.mark.parametrize("language", ["de", "fr", "ar", "hi"])
def test_o08_in_another_language_numbers_for_machines_stay_plain(run, staff_client, settings, dom, language):
    settings.LANGUAGE_CODE = language
    settings.USE_THOUSAND_SEPARATOR = True
    for address, page in ask_all(staff_client).items():
        if not page.startswith(("<", "\n")):
            continue
        values = re.findall(r'data-(?:value|total|new)="([^"]*)"', page)
        assert not [value for value in values if not re.fullmatch(r"-?\d+(\.\d+)?", value, re.A)], address
        # What a chart is drawn with as well.
        drawn = re.findall(r' (?:x|y|x1|x2|y1|y2|width|height|r)="([^"]*)"', page)
        assert not [value for value in drawn if not re.fullmatch(r"-?\d+(\.\d+)?(%|px|rem)?", value, re.A)], address
    answer = dom(staff_client.get(reverse("layer_runs:list")))
    assert (answer.stats["tokens"], answer.stats["cost"]) == ("1293406", "1234.679400000")


def test_o08_without_translations(run, staff_client, settings):
    settings.USE_I18N = False
    ask_all(staff_client)


def test_o08_a_policy_of_the_hosts_own_is_the_one_that_holds(run, staff_client, monkeypatch):
    """Set by a middleware outside of the app, as nonces are, it takes the place of the app's."""
    answer = BaseHandler.get_response

    def get_response(handler: BaseHandler, request) -> HttpResponse:
        response = answer(handler, request)
        response.headers["Content-Security-Policy"] = "default-src 'self' 'nonce-x'"
        return response

    monkeypatch.setattr(BaseHandler, "get_response", get_response)
    for address in addresses():
        policies = staff_client.get(address).headers.get("Content-Security-Policy")
        assert policies == "default-src 'self' 'nonce-x'"


def test_o08_a_host_that_sends_the_policy_itself_gets_none_of_the_apps(run, staff_client, settings):
    settings.LAYER_RUNS = {"CSP": None}
    for address in addresses():
        assert "Content-Security-Policy" not in staff_client.get(address).headers


# -- what a process can be only once

SETTINGS = """
from zos_site.settings_test import *

INSTALLED_APPS = ["people", *INSTALLED_APPS]
AUTH_USER_MODEL = "people.Person"
ROOT_URLCONF = "host_urls"
ATOMIC_REQUESTS = True
DATABASES = {"default": DATABASES["default"] | {"ATOMIC_REQUESTS": True, "NAME": HERE / "default.sqlite3"}}
DATABASES["runs"] = DATABASES["default"] | {"NAME": HERE / "runs.sqlite3"}
DATABASE_ROUTERS = ["people.Router"]
LANGUAGE_CODE = "de"
USE_I18N = True
TIME_ZONE = "Asia/Kolkata"
USE_THOUSAND_SEPARATOR = True
FORCE_SCRIPT_NAME = "/team"
STATIC_URL = "https://static.example/a/"
LAYER_RUNS = {"ADMIN_SITE": "host_urls.desk"}
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
INSTALLED_APPS.remove("axes")
MIDDLEWARE.remove("axes.middleware.AxesMiddleware")
TEMPLATES[0]["DIRS"] = [HERE / "templates"]
"""
PEOPLE = """
class Router:
    def db_for_read(self, model, **hints):
        return "runs" if model._meta.app_label == "layer_runs" else "default"

    db_for_write = db_for_read

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return (db == "runs") == (app_label == "layer_runs")
"""
PERSON = """
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models


class Person(AbstractBaseUser, PermissionsMixin):
    number = models.CharField(max_length=20, primary_key=True)
    is_staff = models.BooleanField(default=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "number"
"""
URLS = """
from django.contrib.admin import AdminSite
from django.urls import include, path
from layer_runs.admin import LayerRunAdmin
from layer_runs.models import LayerRun

desk = AdminSite(name="desk")
desk.register(LayerRun, LayerRunAdmin)
urlpatterns = [path("desk/", desk.urls), path("a/b/", include("layer_runs.urls"))]
"""
BASE = """
{% extends "admin/base.html" %}
{% block branding %}<p>The house of the host</p>{% endblock %}
"""
VISIT = """
import json, sys
from datetime import timedelta
import django
django.setup()
from django.core.management import call_command
for alias in ("default", "runs"):
    call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
call_command("check")
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import set_script_prefix
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory
from layer_runs.tests.test_hosts import VISITED
for day in range(1, 13):
    LayerRunFactory(ago=timedelta(days=day), failing=day % 3 == 0, estimated_cost_usd="1234.5")
    LlmCallFactory(run=LayerRunFactory(ago=timedelta(days=day), layer_name="other"))
person = get_user_model().objects.create(number="7", is_superuser=True)
client = Client()
client.force_login(person)
run = LayerRun.objects.filter(error_count__gt=0).first().pk
said = {}
of_one = [f"a/b/{run}/", f"a/b/{run}/errors/", f"a/b/{run}/raw/", f"desk/layer_runs/layerrun/{run}/change/"]
for address in [*VISITED, *of_one]:
    response = client.get(f"/{address}", SCRIPT_NAME="/team")
    said[address] = [response.status_code, response.getvalue().decode()[:200_000]]
stranger = Client().get("/a/b/?status=failed", SCRIPT_NAME="/team")
said["login"] = [stranger.status_code, stranger.headers["Location"]]
said["policy"] = [200, client.get("/a/b/", SCRIPT_NAME="/team").headers["Content-Security-Policy"]]
said["runs"] = [200, LayerRun.objects.count()]
json.dump(said, open(sys.argv[1], "w"))
"""
VISITED = (
    *("a/b/", "a/b/?period=all", "a/b/layers/", "a/b/errors/", "a/b/costs/", "a/b/stats/", "a/b/live/", "a/b/compare/"),
    *("a/b/export/csv/", "a/b/export/json/", "a/b/layers/csv/", "a/b/errors/csv/", "a/b/costs/csv/"),
    *("desk/", "desk/layer_runs/layerrun/", "desk/layer_runs/layerrun/?status=failed&q=x"),
)


@pytest.fixture(scope="module")
def visited(tmp_path_factory) -> dict[str, list]:
    """What a host answers that has users, an admin, databases, a language and an address of its own."""
    here = tmp_path_factory.mktemp("host")
    files = {
        "host_settings.py": f"from pathlib import Path\nHERE = Path({str(here)!r})\n{SETTINGS}",
        "host_urls.py": URLS,
        "people/__init__.py": PEOPLE,
        "people/models.py": PERSON,
        "templates/admin/base_site.html": BASE.strip(),
        "visit.py": VISIT,
    }
    for name, text in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "host_settings",
        "PYTHONPATH": os.pathsep.join([str(here), str(ROOT)]),
        "DATABASE_URL": f"sqlite:///{here}/default.sqlite3",
        "PYTHONWARNINGS": "error::DeprecationWarning:layer_runs",
    }
    command = [sys.executable, here / "visit.py", here / "said.json"]
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads((here / "said.json").read_text())


def test_o08_in_a_host_of_another_kind_every_page_is_answered(visited):
    assert {address: status for address, (status, _text) in visited.items() if status != 200} == {"login": 302}
    assert visited["runs"][1] == 24


def test_o08_it_wears_the_hosts_admin_and_stays_below_its_addresses(visited):
    page = visited["a/b/"][1]
    assert "The house of the host" in page
    assert 'src="https://static.example/a/layer_runs/' in page
    assert {link for link in links(page) if not link.startswith("/team/")} <= {"/team"}
    assert visited["login"][1].startswith("/team/desk/login/?next=/team/a/b/")
    assert "script-src 'self' https://static.example;" in visited["policy"][1]


def test_o08_numbers_for_machines_are_plain_there_as_well(visited):
    values = re.findall(r'data-(?:value|total)="([^"]*)"', "".join(str(text) for _status, text in visited.values()))
    assert len(values) > 50
    assert not [value for value in values if not re.fullmatch(r"-?\d+(\.\d+)?", value, re.A)]
