"""The embedded world: endless images with text, from a seed."""
