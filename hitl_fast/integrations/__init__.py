"""Adapters for training frameworks and trackers; each framework is imported when its adapter is used."""
