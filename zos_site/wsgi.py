from django.core.wsgi import get_wsgi_application

from .serving import in_utf8, prepare

prepare()
application = in_utf8(get_wsgi_application())
