"""Protection of the server against hostile uploads: process isolation, request limits, cleanup."""
