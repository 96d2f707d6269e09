"""From video files and built datasets to batches of preprocessed clips."""
