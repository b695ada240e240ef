"""Benchmarks are pytest files so that ``-k`` picks one; each asserts the result that it times."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `from race import race`
