"""Two runs side by side."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from .. import formatting
from ..lenses import compare as compare_lens
from ..models import LayerRun
from .run import PageOfRuns


class CompareView(PageOfRuns):
    """Two runs, `a` on the left and `b` on the right; one and the run before it; or a form that asks for two."""

    template_name = "layer_runs/compare.html"
    fragment_template_name = "layer_runs/_compare.html"
    fragment_id = "run-compare"

    @cached_property
    def given(self) -> dict[str, str]:
        """The ids that are asked for, as they came."""
        ids = {name: self.request.GET.get(name, "").strip() for name in ("a", "b")}
        return {name: pk for name, pk in ids.items() if pk}

    @cached_property
    def found(self) -> dict[str, LayerRun]:
        runs = {run.pk: run for run in LayerRun.objects.for_list().filter(pk__in=set(self.given.values()))}
        return {name: runs[pk] for name, pk in self.given.items() if pk in runs}

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        status = 200 if len(self.found) == len(self.given) else 404
        return self.render_to_response(self.get_context_data(**kwargs), status=status)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = {
            "title": _("Compare two runs"),
            "asked": self.asked(self.given.get("a", ""), self.given.get("b", "")),
            "unknown": [(name, pk) for name, pk in self.given.items() if name not in self.found],
            "carried": [(name, value) for name, values in self.selection.parameters().items() for value in values],
            "compare_url": reverse("layer_runs:compare"),
        }
        if self.found and not context["unknown"]:
            context |= self.of_one(*self.found.values()) if len(self.found) == 1 else self.of_two(**self.found)
        return super().get_context_data(**context, **kwargs)

    def of_one(self, run: LayerRun) -> dict[str, Any]:
        """Return what is said of a run and the run before it, or that there is none."""
        if before := self.beside(run)["before"]:
            return self.of_two(before, run)
        return {
            "alone": run,
            "alone_url": self.link_to(run),
            "next_url": self.link_to_both(run, self.beside(run)["after"]),
        }

    def of_two(self, a: LayerRun, b: LayerRun) -> dict[str, Any]:
        is_forward = (a.started_at, a.pk) <= (b.started_at, b.pk)
        words = (_("Before"), _("After")) if is_forward else (_("Later run"), _("Earlier run"))
        counted = _("%(a)s before, %(b)s after") if is_forward else _("%(a)s in the later run, %(b)s in the earlier")
        earlier, later = [[self.beside(run)[way] for run in (a, b)] for way in ("before", "after")]
        return {
            "lens": compare_lens.report(a, b, self.look.zone, with_details=self.sees_details),
            "asked": self.asked(a.pk, b.pk),
            "sides": [self.side(*side) for side in zip((a, b), words, strict=True)],
            "is_forward": is_forward,
            "distance": self.distance(a, b, is_next=earlier[1] == a or earlier[0] == b),
            "errors_text": counted % {"a": formatting.count(a.error_count), "b": formatting.count(b.error_count)},
            # Ready for a fingerprint and for a topic: where else that happened, ever.
            "errors_url": f"{reverse('layer_runs:errors')}?period=all&error=",
            "topic_url": f"{reverse('layer_runs:list')}?period=all&topic=",
            "swap_url": self.link_to_both(b, a) if a != b else "",
            "back_url": self.link_to_both(*earlier),
            "on_url": self.link_to_both(*later),
        }

    def asked(self, a: str, b: str) -> list[tuple[str, str, str]]:
        return [("a", _("Run on the left"), a), ("b", _("Run on the right"), b)]

    def side(self, run: LayerRun, word: str) -> dict[str, Any]:
        """Return a run as the head of its column: what it is called, its page, and all runs of its version."""
        version = {"layer_name": run.layer_name, "layer_hash": run.layer_hash, "period": "all"}
        version_url = f"{reverse('layer_runs:list')}?{urlencode(version)}" if run.layer_hash and run.layer_name else ""
        return {"run": run, "word": word, "url": self.link_to(run), "version_url": version_url}

    def beside(self, run: LayerRun) -> dict[str, LayerRun | None]:
        """Return the runs of the same layer and source just before and after one."""
        if run.pk not in self._beside:
            runs = LayerRun.objects.for_list()
            self._beside[run.pk] = {"before": runs.before(run).first(), "after": runs.after(run).first()}
        return self._beside[run.pk]

    @cached_property
    def _beside(self) -> dict[str, dict[str, LayerRun | None]]:
        return {}

    def distance(self, a: LayerRun, b: LayerRun, *, is_next: bool) -> str:
        """Return how far apart two runs are."""
        apart = compare_lens.apart(a.started_at, b.started_at)
        if a == b:
            return ""
        return _("one right after the other, %s apart") % apart if is_next else _("%s apart") % apart
