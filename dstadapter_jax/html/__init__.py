"""Reports as HTML pages: one stylesheet, templates that escape all text, and charts.

A page needs no other file and runs no script.
"""
