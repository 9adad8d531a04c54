"""Pure jnp operations: no flax, no configs."""
