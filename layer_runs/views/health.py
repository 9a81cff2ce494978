"""`healthz`: yes or no for a load balancer, and why for an operator."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import Error, transaction
from django.http import HttpRequest, JsonResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from ..access import VIEW_RUNS
from ..guard import RETRY_AFTER, guarded
from ..health import Health, check_up, look_closer

logger = logging.getLogger("layer_runs.health")


@method_decorator(csrf_exempt, name="dispatch")  # It takes nothing: a POST is answered 405, and asked for no token.
@method_decorator(login_not_required, name="dispatch")
@method_decorator(transaction.non_atomic_requests, name="dispatch")
@method_decorator(guarded, name="dispatch")
class HealthView(View):
    """Answer 200 while the monitor can serve and 503 while it cannot; only an operator is told more."""

    http_method_names = ["get", "head", "options"]
    # What was last logged: it is asked every few seconds, and says a thing once.
    said: list[str] = []

    def get(self, request: HttpRequest) -> JsonResponse:
        health = check_up()
        self.log(health)
        answer: dict[str, Any] = {"status": "unavailable" if health.problems else "ok"}
        if health.facts and is_operator(request):
            answer |= self.reasons(health)
        headers = {"Retry-After": str(RETRY_AFTER)} if health.problems else {}
        response = JsonResponse(answer, status=503 if health.problems else 200, headers=headers)
        # Said once, above: Django would log every single 503.
        response._has_been_logged = True
        return response

    def reasons(self, health: Health) -> dict[str, Any]:
        try:
            look_closer(health)
        except Error as error:
            # A table that a pending migration makes, or the database left in between.
            health.concerns.append(f"Not all could be looked at: {error}")
        degraded = {"status": "degraded"} if health.concerns and not health.problems else {}
        return degraded | {"problems": health.problems, "concerns": health.concerns} | health.facts

    def log(self, health: Health) -> None:
        if health.problems != HealthView.said:
            HealthView.said = health.problems
            for problem in health.problems:
                logger.warning("Unavailable: %s", " ".join(problem.split()))
            if not health.problems:
                logger.warning("Available again.")


def is_operator(request: HttpRequest) -> bool:
    """Tell whether an active staff user who may view runs is asking; without sessions nobody is."""
    try:
        user = request.user
        return user.is_active and user.is_staff and user.has_perm(VIEW_RUNS)
    except Exception:  # noqa: BLE001 (whatever keeps the sessions fails in ways of its own)
        return False
