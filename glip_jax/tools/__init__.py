"""Command-line tools: python -m glip_jax.tools.X."""
