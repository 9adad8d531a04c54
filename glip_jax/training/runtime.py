"""What a program sets up in JAX before it computes anything."""

import os
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath


def start(config: Mapping[str, Any]):
  """Joins the other processes and turns the compilation cache on.

  Args:
    config: `distributed` is True to join the processes of a cluster that JAX
      detects, False not to, and None (or left out) to join on TPU pods only;
      `compilation_cache` is a folder, '' for one in the user's cache folder,
      and None for no cache. The variable JAX_COMPILATION_CACHE_DIR wins.
  """
  distributed = config.get('distributed', None)
  if distributed is None:
    distributed = ',' in os.environ.get('TPU_WORKER_HOSTNAMES', '')
  if distributed and not jax.distributed.is_initialized():
    jax.distributed.initialize()
  folder = config.get('compilation_cache', '')
  if folder is not None and not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    folder = epath.Path(folder or _user_cache()).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update('jax_compilation_cache_dir', os.fspath(folder))


def share() -> dict[str, int]:
  """Which part of the data is this process's, as the pipelines take it."""
  return {
      'process_index': jax.process_index(),
      'process_count': jax.process_count(),
  }


def _user_cache() -> str:
  base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return os.path.join(base, 'glip_jax', 'xla')
