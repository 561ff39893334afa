"""From files to batches: `Faces`, splits, augmentation, the data module."""
