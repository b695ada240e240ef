"""What both studies use: data, the parallel runner, its journal, and the results page."""
