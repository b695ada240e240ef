"""Does PreIndex predict retraining cost? A grid of retrainings, every score before it, and what they say."""
