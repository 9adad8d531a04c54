"""Families of detectors: a folder and a row in a table each."""
