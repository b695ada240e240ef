"""What retraining will cost, what people rate as important, and how many joules either saved.

The public names are imported when first used: ``import hitl_fast`` loads neither torch nor Numba nor
Triton, and ``hitl_fast.energy`` works where torch is not installed.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# public name: the module that defines it
_HOME: dict[str, str] = {
    "PreIndexAccumulator": "hitl_fast.preindex",
    "PreIndexReport": "hitl_fast.preindex",
    "Priorities": "hitl_fast.ratings",
    "Ratings": "hitl_fast.ratings",
    "preindex": "hitl_fast.preindex",
}

__all__ = [
    "PreIndexAccumulator",
    "PreIndexReport",
    "Priorities",
    "Ratings",
    "__version__",
    "preindex",
]

if TYPE_CHECKING:
    # The same names again, for type checkers.
    from .preindex import PreIndexAccumulator as PreIndexAccumulator
    from .preindex import PreIndexReport as PreIndexReport
    from .preindex import preindex as preindex
    from .ratings import Priorities as Priorities
    from .ratings import Ratings as Ratings


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hitl_fast' has no attribute {name!r}; it has: {', '.join(__all__)}")
    home = importlib.import_module(_HOME[name])
    # A room named like its main function is callable: one object, whoever imported it first.
    value: object = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
