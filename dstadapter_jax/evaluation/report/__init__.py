"""Reports of evaluations as HTML pages."""
