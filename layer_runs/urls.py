from django.urls import path

from . import views

app_name = "layer_runs"
# Literal paths come before <str:pk>/: their words are no run ids (models.RESERVED_IDS).
urlpatterns = [
    path("", views.RunListView.as_view(), name="list"),
    path("stats/", views.StatsView.as_view(), name="stats"),
    path("export/<str:kind>/", views.ExportView.as_view(), name="export"),
    path("<str:pk>/", views.RunDetailView.as_view(), name="detail"),
    path("<str:pk>/errors/", views.RunErrorsView.as_view(), name="run_errors"),
    path("<str:pk>/raw/", views.RawView.as_view(), name="raw"),
]
