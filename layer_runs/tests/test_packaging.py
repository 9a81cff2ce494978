"""The wheel, as a stranger meets it: built here, unpacked beside a fresh project, set up as the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from zipfile import ZipFile

import pytest

from layer_runs.conf import DEFAULTS
from layer_runs.models import LayerRun, LlmCall

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

# Runs inside the fresh project: a staff user with the permissions of the README opens every page.
VISIT = """
import warnings
warnings.simplefilter("error")
import django
django.setup()
import layer_runs
import re
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from layer_runs.models import LayerRun

run = LayerRun.objects.create(layer_name="nightly", errors=[{"topic": "t", "error": "Connection error.", "node": "n"}])
user = User.objects.create_user("ada", is_staff=True)
user.user_permissions.set(Permission.objects.filter(content_type__app_label="layer_runs"))
client = Client(HTTP_HOST="localhost")
print("from", layer_runs.__file__)
print("anonymous", client.get(reverse("layer_runs:list")).status_code)
client.force_login(user)
pages = {
    "list": reverse("layer_runs:list"),
    "stats": reverse("layer_runs:stats"),
    "detail": reverse("layer_runs:detail", args=[run.pk]),
    "admin": reverse("admin:layer_runs_layerrun_changelist"),
}
for name, path in pages.items():
    response = client.get(path)
    page = response.content.decode()
    print(name, response.status_code, "with the host's brand" if "Django administration" in page else "alone")
    files = {path for path in re.findall(r'(?:href|src)="/static/([^"?]+)', page) if not finders.find(path)}
    assert not files, files
    assert "nightly" in page
"""


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def code_blocks(title: str) -> list[tuple[str, str]]:
    """Return the language and the text of each code block of a section of the README."""
    blocks = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", section(title), re.MULTILINE | re.DOTALL)
    return [(language, dedent(text)) for _, language, text in blocks]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)], cwd=ROOT)
    return next(target.glob("*.whl"))


def run(command: list[str], *, cwd: Path, **environment: str) -> str:
    """Run a command that knows nothing of this site, and return what it said."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    done = subprocess.run(command, cwd=cwd, env=kept | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_app_and_nothing_else(wheel):
    names = ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"layer_runs", "layer_runs-0.1.0.dist-info"}
    assert not [name for name in names if "/tests/" in name or name.endswith((".pyc", ".sqlite3"))]


def test_the_wheel_holds_every_file_of_the_app(wheel):
    app = ROOT / "layer_runs"
    files = {path.relative_to(ROOT).as_posix() for path in app.rglob("*") if path.is_file()}
    wanted = {name for name in files if "/tests/" not in name and "__pycache__" not in name}
    assert wanted <= set(ZipFile(wheel).namelist())
    for part in ("templates/layer_runs/", "static/layer_runs/", "migrations/0001_initial.py"):
        assert any(name.startswith(f"layer_runs/{part}") for name in wanted)


def test_the_wheel_says_what_it_needs_without_capping_it(wheel):
    archive = ZipFile(wheel)
    metadata = archive.read("layer_runs-0.1.0.dist-info/METADATA").decode()
    needs = re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)
    assert {re.split(r"[<>=]", need)[0].lower() for need in needs} == {
        *("django", "django-filter", "django-htmx", "django-tables2")
    }
    assert not [need for need in needs if "<" in need or "==" in need]
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_readme_is_enough_to_add_it_to_a_fresh_site(wheel, tmp_path):
    installed, site = tmp_path / "installed", tmp_path / "site"
    # A wheel of plain Python is installed by unpacking it; what it needs is in this environment already.
    ZipFile(wheel).extractall(installed)
    site.mkdir()
    environment = {"PYTHONPATH": str(installed), "DJANGO_SETTINGS_MODULE": "host.settings"}
    run([sys.executable, "-m", "django", "startproject", "host", str(site)], cwd=tmp_path)

    steps = code_blocks("Add it to your site")
    assert steps[0][1].startswith("pip install layer-runs")
    for language, text in steps[1:]:
        if language == "python":
            name = text.split("\n", 1)[0].removeprefix("# ")
            with (site / "host" / name).open("a") as file:
                file.write(f"\n{text}")
        else:
            assert text.startswith("python manage.py ")
            run([sys.executable, *text.split()[1:]], cwd=site, **environment)

    assert "no issues" in run([sys.executable, "manage.py", "check"], cwd=site, **environment)
    said = run([sys.executable, "-c", VISIT], cwd=site, **environment).splitlines()
    assert said[0] == f"from {installed / 'layer_runs' / '__init__.py'}"
    assert said[1] == "anonymous 302"
    assert said[2:] == [f"{page} 200 with the host's brand" for page in ("list", "stats", "detail", "admin")]


def test_the_readme_takes_at_most_five_steps():
    steps = re.findall(r"^(\d)\. ", section("Add it to your site"), re.MULTILINE)
    assert 1 <= len(steps) <= 5


def test_the_readme_lists_every_setting_with_its_default():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `(.*?)` \|", section("Settings"), re.MULTILINE))
    assert rows.keys() == DEFAULTS.keys()
    shown = {name: eval(default, {"timedelta": timedelta}) for name, default in rows.items()}  # noqa: S307
    assert shown == DEFAULTS


@pytest.mark.django_db
def test_the_readme_shows_how_to_write_a_run():
    ((language, example),) = code_blocks("Write a run")
    assert language == "python"
    exec(example, {})  # noqa: S102
    run = LayerRun.objects.get()
    assert (run.status, run.error_count, run.error_preview) == ("partial", 1, "Request timed out.")
    assert (run.tokens_total, run.estimated_cost_usd) == (5_249, LlmCall.objects.get().estimated_cost_usd)


def test_the_readme_names_every_field_a_pipeline_should_fill():
    fields = {field.name for field in LayerRun._meta.get_fields()}
    named = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (.*?) \|", section("Write a run"), re.MULTILINE))))
    assert named <= fields
    assert {"layer_name", "status", "started_at", "completed_at", "errors", "estimated_cost_usd"} <= named
