from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("layer-runs/", include("layer_runs.urls")),
    path("", include("layer_runs.ops_urls")),
    path("", RedirectView.as_view(pattern_name="layer_runs:list")),
]
