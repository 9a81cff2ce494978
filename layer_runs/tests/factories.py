"""The data of the tests: believable by default, one keyword away from odd."""

from __future__ import annotations

from datetime import timedelta

import factory
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from layer_runs.models import LayerRun, LlmCall, Status


class LayerRunFactory(factory.django.DjangoModelFactory):
    """A successful run of 10 targets that started an hour ago and took 90 seconds."""

    class Meta:
        model = LayerRun
        skip_postgeneration_save = True

    class Params:
        ago = timedelta(hours=1)
        took = timedelta(seconds=90)
        failing = factory.Trait(
            status=Status.FAILED,
            targets_processed=0,
            targets_skipped=10,
            insights_created=0,
            errors=factory.LazyFunction(
                lambda: [
                    {"topic": f"server:1:user:{n}", "error": "Connection error.", "node": "reflect"} for n in range(10)
                ]
            ),
        )
        under_way = factory.Trait(status=Status.RUNNING, completed_at=None, insights_created=0)

    layer_name = "nightly-user-reflection"
    layer_hash = "a87efb9b10c24d5f"
    started_at = factory.LazyAttribute(lambda run: timezone.now() - run.ago)
    completed_at = factory.LazyAttribute(lambda run: run.started_at + run.took)
    status = Status.SUCCESS
    targets_matched = 10
    targets_processed = 10
    insights_created = 10
    model_profile = "reflection"
    model_provider = "anthropic"
    model_name = "claude-sonnet-4-6"
    tokens_input = 54_468
    tokens_output = 4_371
    tokens_total = 58_839
    estimated_cost_usd = "0.1794"


class LlmCallFactory(factory.django.DjangoModelFactory):
    """One answered call of a run."""

    class Meta:
        model = LlmCall

    run = factory.SubFactory(LayerRunFactory)
    topic = "server:1:user:0"
    call_type = "reflection"
    model_profile = "reflection"
    model_provider = "anthropic"
    model_name = "claude-sonnet-4-6"
    tokens_input = 4_958
    tokens_output = 291
    tokens_total = 5_249
    estimated_cost_usd = "0.0192"
    latency_ms = 1_200
    created_at = factory.LazyAttribute(lambda call: call.run.started_at + timedelta(seconds=5))


class StaffFactory(factory.django.DjangoModelFactory):
    """A staff user who may see runs and their details; `can=[...]` names the permissions instead."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"ada{n}")
    is_staff = True

    @factory.post_generation
    def can(self, create: bool, names: list[str] | None, **kwargs: object) -> None:
        names = ["view_layerrun", "view_run_details"] if names is None else names
        self.user_permissions.set(Permission.objects.filter(content_type__app_label="layer_runs", codename__in=names))
