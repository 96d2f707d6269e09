"""Pages for people: HTML that needs no other file and no script."""
