"""From predictions to the numbers that users read."""
