app_name = "layer_runs"
urlpatterns: list = []
