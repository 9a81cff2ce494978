from django.urls import include, path

from .peers import EmptyPage, plain_site, plain_site_without_hierarchy

urlpatterns = [
    path("bench/empty/", EmptyPage.as_view()),
    path("bench/plain/", plain_site.urls),
    path("bench/plain-without-hierarchy/", plain_site_without_hierarchy.urls),
    path("", include("zos_site.urls")),
]
