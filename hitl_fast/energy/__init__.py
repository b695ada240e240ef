"""Joules per phase of a run. Imports neither torch nor Numba, nor NumPy before a result is analysed."""

from .comparison import Comparison, compare
from .domain import Domain
from .grid import INTENSITIES, Carbon, carbon
from .meter import EnergyMeter, OpenWindow, sensors
from .results import EnergyReport, Overhead, Window

__all__ = [
    "INTENSITIES",
    "Carbon",
    "Comparison",
    "Domain",
    "EnergyMeter",
    "EnergyReport",
    "OpenWindow",
    "Overhead",
    "Window",
    "carbon",
    "compare",
    "sensors",
]
