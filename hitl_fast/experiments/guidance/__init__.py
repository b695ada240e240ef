"""Does human guidance save energy? Conditions with and without it, on real data with synthetic data defects."""
