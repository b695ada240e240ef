"""Estimate retraining cost, turn human ratings into sample weights, and measure training energy.

The public names are loaded on first use: ``import hitl_fast`` imports neither torch nor Numba nor Triton, and
``hitl_fast.energy`` works where torch is not installed. ``__init__.pyi`` lists each public name once.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
