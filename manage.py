#!/usr/bin/env python
import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zos_site.settings")
    if sys.argv[1:2] == ["migrate"]:
        # Alone among the commands it may make a database file that is not there.
        os.environ.setdefault("DJANGO_CREATE_DATABASE", "1")
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError, OperationalError

    try:
        execute_from_command_line(sys.argv)
    except DatabaseError as error:
        # The other kinds are mistakes in the code, and want their traceback.
        if "--traceback" in sys.argv or type(error) not in (DatabaseError, OperationalError):
            raise
        from django.conf import settings

        from zos_site.databases import why_not

        sys.exit(why_not(settings.DATABASES["default"]) or f"The database does not answer: {error}")
