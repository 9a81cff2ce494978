from django.urls import path

from .views import compare, costs, downloads, errors, layers, live, run, runs

app_name = "layer_runs"
# Literal paths come before <str:pk>/: their words are no run ids (models.RESERVED_IDS).
urlpatterns = [
    path("", runs.RunListView.as_view(), name="list"),
    path("stats/", runs.StatsView.as_view(), name="stats"),
    path("export/<str:kind>/", downloads.ExportView.as_view(), name="export"),
    path("layers/", layers.LayersView.as_view(), name="layers"),
    path("layers/csv/", layers.LayersCsvView.as_view(), name="layers_csv"),
    path("errors/", errors.ErrorsView.as_view(), name="errors"),
    path("errors/csv/", errors.ErrorsCsvView.as_view(), name="errors_csv"),
    path("costs/", costs.CostsView.as_view(), name="costs"),
    path("costs/csv/", costs.CostsCsvView.as_view(), name="costs_csv"),
    path("compare/", compare.CompareView.as_view(), name="compare"),
    path("live/", live.LiveView.as_view(), name="live"),
    path("<str:pk>/", run.RunDetailView.as_view(), name="detail"),
    path("<str:pk>/errors/", run.RunErrorsView.as_view(), name="run_errors"),
    path("<str:pk>/raw/", downloads.RawView.as_view(), name="raw"),
]
