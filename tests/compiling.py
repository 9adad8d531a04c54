"""Compiles in half the time, for tests of programs that run a few times."""

import functools

import jax

# What is compiled is slow.
OPTIONS = {
    'xla_backend_optimization_level': 0,
    'xla_llvm_disable_expensive_passes': True,
}
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS)
