from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LayerRunsConfig(AppConfig):
    name = "layer_runs"
    verbose_name = _("Layer runs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Only now are there models, which the checks ask for their database.
        from . import checks  # noqa: F401
