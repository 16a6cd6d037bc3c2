"""Training: one loop, level by level, and the folder of a run."""
