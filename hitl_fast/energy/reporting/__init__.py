"""Results as data classes, files, plots and comparisons."""
