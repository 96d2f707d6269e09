"""Training: trainer, loop, step, optimizer, resuming, logging."""
