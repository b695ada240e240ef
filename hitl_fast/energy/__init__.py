"""Joules per phase of a run. Imports neither torch nor Numba, nor NumPy before a result is analysed."""

from .measuring.meter import EnergyMeter
from .measuring.open_window import OpenWindow
from .measuring.sensor_set import find_sensors
from .reporting.carbon import INTENSITIES, Carbon, carbon
from .reporting.comparison import Comparison, compare
from .reporting.report import EnergyReport
from .reporting.results import Overhead, Window
from .sensors.domain import Domain
from .sensors.sources import CsvLog, EnergySource, HomeAssistantLog, HttpPlug, Joules, Watts, shelly, tasmota

__all__ = [
    "INTENSITIES",
    "Carbon",
    "Comparison",
    "CsvLog",
    "Domain",
    "EnergyMeter",
    "EnergyReport",
    "EnergySource",
    "HomeAssistantLog",
    "HttpPlug",
    "Joules",
    "OpenWindow",
    "Overhead",
    "Watts",
    "Window",
    "carbon",
    "compare",
    "find_sensors",
    "shelly",
    "tasmota",
]
