"""The demo: rendered sign videos, and a small backbone that was trained on still images."""
