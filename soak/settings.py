"""The site's settings for its soak: as it is served, with static files of the soak's own."""

from __future__ import annotations

import os
from pathlib import Path

from zos_site.settings import *  # noqa: F403

STATIC_ROOT = Path(os.environ["SOAK_DIR"]) / "static"
