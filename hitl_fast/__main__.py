"""``python -m hitl_fast`` is ``hitl-fast``."""

import sys

from hitl_fast.cli import main

sys.exit(main())
