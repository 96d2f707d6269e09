"""Looks through the clips of a dataset before it is built, and reports on them."""
