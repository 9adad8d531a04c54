"""Compiles in a third of the time, for programs that tests run a few times."""

import functools

import jax

# What is compiled is slow.
OPTIONS = {
    'xla_backend_optimization_level': 0,
    'xla_llvm_disable_expensive_passes': True,
}
if jax.__version_info__ < (0, 11):
  # The older code for fused loops compiles in half of the time, and later jax
  # does not have it.
  OPTIONS['xla_cpu_use_fusion_emitters'] = False
# The same for `XLA_FLAGS`.
FLAGS = ' '.join(f'--{name}={value}'.lower() for name, value in OPTIONS.items())
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS)
# As users compile, whatever the flags say: for what is compared with stored
# numbers near its bound, as quick code rounds twice as much.
_AS_USERS = {name: not value for name, value in OPTIONS.items()}
full_jit = functools.partial(
    jax.jit, compiler_options=_AS_USERS | {'xla_backend_optimization_level': 3}
)
