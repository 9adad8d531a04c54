"""Fixtures shared by all tests: where the reference arrays are, and runs."""

import os
import pathlib

import compiling
import jax
import pytest
from tiny_runs import compiled, eight, runs, sequels, stopped  # noqa: F401


def pytest_configure():
  """Compiles quickly in this process, but not in programs that it starts."""
  before = os.environ.get('XLA_FLAGS')
  os.environ['XLA_FLAGS'] = f'{before or ""} {compiling.FLAGS}'
  jax.devices()  # XLA reads its flags now, once.
  del os.environ['XLA_FLAGS']
  if before is not None:
    os.environ['XLA_FLAGS'] = before


@pytest.fixture(scope='session')
def golden() -> pathlib.Path:
  """Folder of the reference arrays that travel with the project."""
  return pathlib.Path(__file__).parent / 'golden'


@pytest.fixture(scope='session')
def shared() -> pathlib.Path:
  """Folder with `reference/` and `data/`, or a skip that says so."""
  folder = os.environ.get('GLIP_JAX_SHARED')
  if not folder:
    pytest.skip('GLIP_JAX_SHARED is not set: no shared data on this machine')
  return pathlib.Path(folder)
