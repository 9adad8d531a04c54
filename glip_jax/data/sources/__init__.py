"""Readers of annotated images, one a format, and the table of them."""
