"""What a training run is made of: `common.py` states every field, the others what differs."""
