from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LayerRunsConfig(AppConfig):
    name = "layer_runs"
    verbose_name = _("Layer runs")
    default_auto_field = "django.db.models.BigAutoField"
