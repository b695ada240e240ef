"""The studies that say whether the methods work, repeatable by a command."""
