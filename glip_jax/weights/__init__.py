"""Official weights in and out, by name."""
