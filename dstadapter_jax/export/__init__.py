"""Export of a trained recognizer as an adapter file or as a standalone program."""
