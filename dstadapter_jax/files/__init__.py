"""Atomic writes and hashes of files."""
