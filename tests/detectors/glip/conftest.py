"""Full sets of weights are dropped when the tests of a file have run."""

import pytest
from parity import reference


@pytest.fixture(scope='module', autouse=True)
def forget_models():
  """Else the process of all tests grows by gigabytes."""
  yield
  reference.forget()
