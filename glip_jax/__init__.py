"""Grounded language-image pre-training in JAX and Flax."""
