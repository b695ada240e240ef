"""``python -m hitl_fast`` is ``hitl-fast``."""

import sys

from .cli import main

sys.exit(main())
