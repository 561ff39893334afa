"""A run's folder: written, read, scored, compared."""
