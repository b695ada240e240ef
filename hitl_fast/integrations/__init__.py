"""Adapters for training frameworks and trackers; each framework is imported when its adapter is used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
