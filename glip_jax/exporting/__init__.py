"""Detectors in files that run without this package (docs/export.md)."""
