"""Names of the splits of every dataset."""

SPLITS = ("train", "validation", "test")
