"""What programs set up before JAX starts."""

import os
import subprocess
import sys

import pytest

# Runs a program with large temporaries and prints the pages of them all, and
# the median of the page faults of a run. The first runs still find their places
# in memory, more of them where the machine is busy.
_SCRIPT = """
import resource
from glip_jax.training import runtime
runtime.start(distributed='False', compilation_cache='off')
import jax, jax.numpy as jnp

@jax.jit
def use(x):
  large = jnp.flip(jnp.tanh(jnp.outer(x, x)), axis=0)
  return (large @ jnp.flip(large)[:, :64]).sum()

x = jnp.arange(3000.0)
faults = []
for _ in range(41):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  use(x).block_until_ready()
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
size = use.lower(x).compile().memory_analysis().temp_size_in_bytes
print(size // resource.getpagesize(), sorted(faults)[20])
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc only')
def test_large_blocks_are_reused():
  done = subprocess.run(
      [sys.executable, '-c', _SCRIPT],
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
      check=True,
      timeout=120,
  )
  pages, faults = map(int, done.stdout.split())
  assert faults < 0.01 * pages


_LIBRARY = """
import jax
from jax._src import xla_bridge
before = dict(jax.config.values)
import glip_jax, glip_jax.predict, glip_jax.serving
from glip_jax.training import checkpointing, metrics, runtime, sharding, state
assert not xla_bridge.backends_are_initialized()
runtime.share()
mesh = sharding.make_mesh({'data': -1})
state.materialise(lambda: 1.0, sharding.replicated(mesh))
checkpointing.Checkpointer(FOLDER).close()
metrics.MetricWriter(FOLDER).close()
assert jax.config.values == before
runtime.start(distributed='False', compilation_cache=FOLDER)
changed = {k for k in before if jax.config.values[k] != before[k]}
assert changed == {'jax_compilation_cache_dir', *QUICK}, changed
"""


def test_only_programs_change_settings_of_the_process(tmp_path):
  quick = ['jax_cpu_enable_async_dispatch'] if sys.platform == 'linux' else []
  head = f'FOLDER, QUICK = {str(tmp_path)!r}, {quick}'
  variables = {k: v for k, v in os.environ.items() if 'CACHE_DIR' not in k}
  subprocess.run(
      [sys.executable, '-c', head + _LIBRARY],
      env=variables | {'JAX_PLATFORMS': 'cpu'},
      check=True,
      timeout=120,
  )
