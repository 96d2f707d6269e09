"""Training checkpoints and their integrity."""
