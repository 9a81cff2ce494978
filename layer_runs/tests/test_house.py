"""The rules of the house, as tests: what a reviewer would otherwise have to remember."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from django.core.management import call_command

from layer_runs.conf import DEFAULTS

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "layer_runs"
TEMPLATES = sorted([*(APP / "templates").rglob("*.html"), *(ROOT / "templates").rglob("*.html")])
STYLES = sorted([*(APP / "static").rglob("*.css"), *(ROOT / "static").rglob("*.css")])
TOPS = ("layer_runs", "zos_site", "bench", "soak")
MODULES = sorted(
    path
    for top in TOPS
    for path in (ROOT / top).rglob("*.py")
    if not {"tests", "migrations"} & set(path.relative_to(ROOT).parts)
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_template = pytest.mark.parametrize("path", TEMPLATES, ids=name_of)
each_module = pytest.mark.parametrize("path", MODULES, ids=name_of)


# --- imports go one way

# A module may import what stands above it, and what stands beside it as long as that is no circle.
LAYERS = [
    {
        "conf",
        "formatting",
        "windows",
        "buckets",
        "windowed",
        "repeating",
        "fingerprints",
        "expressions",
        "fields",
        "constraints",
        "errors",
        "notes",
        "keyset",
        "querysets",
        "statistics",
        "decomposition",
        "redaction",
        "secret_names",
        "secret_rules",
        "secret_shapes",
        "secret_values",
        "lines",
    },
    {"models", "derived", "calls", "audit", "removals"},
    {
        "filters",
        "forms",
        "parameters",
        "menus",
        "columns",
        "tables",
        "lenses",
        "charts",
        "checks",
        "sources",
        "importing",
        "recorder",
        "retention",
        "health",
        "demo",
    },
    {"guard", "middleware"},
    {"pages", "views", "access", "admin", "api", "templatetags", "management", "export"},
    {"urls", "ops_urls", "apps"},
]


def imports_of(path: Path, text: str) -> Iterator[str]:
    """Yield the dotted name of all that a module imports, also inside its functions."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whence = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{whence}.{alias.name}" for alias in node.names)


def part_of(dotted: str) -> str:
    """Return the part of the app that a dotted name belongs to: `lenses` for `layer_runs.lenses.runs`."""
    return dotted.split(".")[1] if dotted.startswith("layer_runs.") else ""


def layer_of(part: str) -> int | None:
    return next((number for number, parts in enumerate(LAYERS) if part in parts), None)


def misplaced(path: Path, text: str) -> list[str]:
    """Return the imports of a module of the app that go the wrong way, and its name if no layer has it."""
    part = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if part == "__init__":
        return list(imports_of(path, text))
    layer = layer_of(part)
    if layer is None:
        return [f"{part} is in no layer"]
    ours = [
        name for name in imports_of(path, text) if name.split(".")[0] in {"layer_runs", "zos_site", "bench", "soak"}
    ]
    beyond = [layer_of(part_of(name)) for name in ours]
    return [name for name, where in zip(ours, beyond, strict=True) if where is None or where > layer]


@pytest.mark.parametrize("path", [path for path in MODULES if path.is_relative_to(APP)], ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    assert misplaced(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("models.py", "from .views import x"),
        ("querysets.py", "from . import models"),
        ("conf.py", "import layer_runs.models"),
        ("formatting.py", "def late():\n    from layer_runs.tables import x"),
        ("lenses/runs.py", "from ..views import x"),
        ("views.py", "from .urls import x"),
        ("views.py", "import zos_site.settings"),
        ("views.py", "from .tests.factories import x"),
        ("views.py", "from .novelty import x"),
        ("novelty.py", ""),
        ("__init__.py", "from .models import LayerRun"),
    ],
)
def test_an_import_that_goes_the_other_way_would_be_found(module: str, text: str) -> None:
    assert misplaced(APP / module, text)


def circle(imports: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    imports = {}
    for name, path in names.items():
        # `from .x import y`: y may be a module of its own, or a name in x.
        wanted = [{dotted, dotted.rpartition(".")[0]} & set(names) for dotted in imports_of(path, path.read_text())]
        imports[name] = set().union(*wanted) - {name}
    assert any(imports.values())
    assert circle(imports) == []
    assert circle({"a": {"b"}, "b": {"a"}})


def test_the_app_knows_nothing_of_the_site_it_runs_in() -> None:
    for path in APP.rglob("*.py"):
        if "browser" not in path.parts:
            assert "zos_site" not in {name.split(".")[0] for name in imports_of(path, path.read_text())}, path


# --- templates

FORBIDDEN_IN_HTML = {
    "inline style": r"<style\b|\sstyle\s*=",
    "inline handler": r"\son[a-z]+\s*=|\shx-on\b",
    "inline script": r"<script\b(?![^>]*\ssrc\s*=)|javascript:",
    "script that is evaluated": r"\bhx-[a-z]+\s*=\s*['\"]\s*js(on)?:",
    "asset from elsewhere": r"<(?!a\b)[a-z]+\b[^>]*\s(?:src|href|srcset|action|data)\s*=\s*['\"]?\s*(?:https?:)?//",
    "HTML comment that is sent to readers": r"<!--",
}
FORBIDDEN_IN_TAGS = {"text taken for HTML": r"\|\s*(?:safe|safeseq)\b|\{%\s*autoescape\s+off"}


def violations(text: str) -> list[str]:
    html = re.sub(r"\{%.*?%\}|\{#.*?#\}", "", text)
    found = [rule for rule, pattern in FORBIDDEN_IN_HTML.items() if re.search(pattern, html, re.I)]
    return found + [rule for rule, pattern in FORBIDDEN_IN_TAGS.items() if re.search(pattern, text, re.I)]


@each_template
def test_templates_hold_no_inline_code_no_foreign_asset_and_no_unescaped_text(path: Path) -> None:
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("<p style='x'>", "inline style"),
        ("<style>p {}</style>", "inline style"),
        ('<a\n  onclick="x()">', "inline handler"),
        ('<a hx-on:click="x()">', "inline handler"),
        ("<script>x()</script>", "inline script"),
        ('<script type="module">x()</script>', "inline script"),
        ('<a href="javascript:x()">', "inline script"),
        ("<div hx-vals='js:{a: b}'>", "script that is evaluated"),
        ('<script src="https://cdn.test/x.js"></script>', "asset from elsewhere"),
        ('<link rel="stylesheet" href="//cdn.test/x.css">', "asset from elsewhere"),
        ('<img src="http://x.test/y.png">', "asset from elsewhere"),
        ("{{ run.error | safe }}", "text taken for HTML"),
        ("{{ runs|safeseq|join:' ' }}", "text taken for HTML"),
        ("{% autoescape off %}", "text taken for HTML"),
        ("<!-- why -->", "HTML comment that is sent to readers"),
    ],
)
def test_each_rule_of_templates_catches_what_it_forbids(text: str, rule: str) -> None:
    assert violations(text) == [rule]


@pytest.mark.parametrize(
    "text",
    [
        '<script src="{% static "x.js" %}" defer></script>',
        '<a href="https://example.com/">',
        '<link rel="stylesheet" href="{% static "x.css" %}">',
        "{# a comment that stays here #}",
        '{% include "x.html" with only=1 %}',
        "{{ run.safety }}",
    ],
)
def test_no_rule_of_templates_forbids_what_is_fine(text: str) -> None:
    assert violations(text) == []


# A page that is shown while nothing else can be: it extends no other.
ALONE = "unavailable.html"


def is_fragment(template: str) -> bool:
    return template.rpartition("/")[2].startswith("_")


@each_template
def test_a_fragment_has_a_leading_underscore_and_is_what_gets_included(path: Path) -> None:
    text = path.read_text()
    included = re.findall(r"""\{%\s*include\s+["']([^"']+)""", text)
    assert [name for name in included if name.startswith("layer_runs/") and not is_fragment(name)] == []
    if path.is_relative_to(APP) and path.name != ALONE:
        assert ("{% extends" in text) is not is_fragment(path.name)


def test_every_template_of_the_app_is_used() -> None:
    own = [path for path in TEMPLATES if path.is_relative_to(APP)]
    text = "".join(path.read_text() for path in [*MODULES, *own])
    names = {str(path.relative_to(APP / "templates")) for path in own}
    assert {name for name in names if name not in text} == set()


@pytest.mark.parametrize("path", STYLES, ids=name_of)
def test_styles_load_nothing_from_elsewhere(path: Path) -> None:
    assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", path.read_text())


# --- code


@each_module
def test_no_code_declares_text_to_be_safe_html(path: Path) -> None:
    names = {
        getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
        for node in ast.walk(ast.parse(path.read_text()))
    }
    assert names & {"mark_safe", "html_safe", "__html__", "safestring"} == set()


@each_module
def test_a_module_stays_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 260


def files() -> list[Path]:
    """Return what is or would be committed."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_named_for_having_no_place() -> None:
    placeless = {"utils", "util", "helpers", "helper", "services", "service", "common", "misc"}
    assert [path for path in files() if {Path(part).stem for part in path.relative_to(ROOT).parts} & placeless] == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    machine = re.compile(r"(?<![\w.])/(?:work|tmp|root|opt)/|\.\./shared\b")
    found = []
    for path in files():
        content = path.read_bytes()
        if path.relative_to(ROOT).parts[0] != ".ci" and b"\0" not in content:
            found += [f"{name_of(path)}: {line}" for line in content.decode().splitlines() if machine.search(line)]
    assert found == []


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("setting", DEFAULTS)
def test_the_readme_lists_every_setting(setting: str) -> None:
    assert re.search(rf"^\| `{setting}` \|", (ROOT / "README.md").read_text(), re.M)
