"""What a load balancer asks. Include it where you like, outside of the pages' own prefix."""

from django.urls import path

from .views import health

app_name = "layer_runs_ops"
urlpatterns = [path("healthz", health.HealthView.as_view(), name="healthz")]
