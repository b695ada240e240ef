"""Real data, known shifts and small models: where the other rooms meet to be tried."""
