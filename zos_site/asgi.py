from django.core.asgi import get_asgi_application

from .serving import prepare

prepare()
application = get_asgi_application()
