"""What a program sets up in its process before it computes anything.

A library must not: flags, caches and malloc are its caller's. Of these only
`share` is for everybody.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys

import jax
from etils import epath

# Options of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_HEAP = 64 << 20  # largest heap of an arena that is not the main thread's


def start(*, distributed: str = 'auto', compilation_cache: str = '') -> None:
  """Joins the other processes and turns the compilation cache on.

  On a machine without accelerator it also has memory reused. Only programs call
  it, before anything that makes JAX look for devices.

  Args:
    distributed: 'True' joins the processes of a cluster that JAX detects,
      'False' does not, and 'auto' does so on TPU pods only.
    compilation_cache: a folder, '' for one in the user's cache folder, 'off'
      for no cache. The variable JAX_COMPILATION_CACHE_DIR wins.
  """
  reuse_memory()
  pod = ',' in os.environ.get('TPU_WORKER_HOSTNAMES', '')
  join = distributed == 'True' or (distributed == 'auto' and pod)
  if join and not jax.distributed.is_initialized():
    jax.distributed.initialize()
  named = os.environ.get('JAX_COMPILATION_CACHE_DIR')
  if compilation_cache != 'off' and not named:
    folder = epath.Path(compilation_cache or user_cache('xla')).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update('jax_compilation_cache_dir', os.fspath(folder))


def share() -> dict[str, int]:
  """Which part of the data is this process's, as the pipelines take it."""
  return {
      'process_index': jax.process_index(),
      'process_count': jax.process_count(),
  }


def reuse_memory() -> None:
  """Has malloc keep what it got: XLA asks for its buffers anew at every step.

  By default glibc gets large blocks from the system and gives them back at
  once, and the system clears their pages each time: a quarter of a training
  step on CPU. Only the main thread's arena can hold large blocks, hence
  programs are run by the thread that calls them. (One arena for all threads
  would do as well, but compilation leaves it in pieces that slow malloc down.)
  """
  if sys.platform != 'linux' or not _is_cpu():
    return
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is not None:
    jax.config.update('jax_cpu_enable_async_dispatch', False)
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)
    # Where a worker thread packs a matrix, its arena would give back a whole
    # heap at once; one smaller than the pad it keeps.
    mallopt(_TOP_PAD, _HEAP)


def _is_cpu() -> bool:
  """Whether JAX will compute on CPU, found without starting it."""
  if jax.config.jax_platforms:
    return jax.config.jax_platforms.split(',')[0] == 'cpu'
  plugins = importlib.metadata.entry_points(group='jax_plugins')
  return not plugins and importlib.util.find_spec('libtpu') is None


def user_cache(name: str) -> str:
  """A folder of this package in the user's cache folder."""
  base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return os.path.join(base, 'glip_jax', name)
