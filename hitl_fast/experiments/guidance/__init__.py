"""Does human guidance save energy? Arms with and without it, on real data with planted trouble."""
