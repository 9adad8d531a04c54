"""A mesh of eight simulated devices computes what one device computes.

Both go on from the checkpoint that one device wrote.
"""

import numpy as np
import pytest
import tiny_runs
from etils import epath

from glip_jax.training import metrics, stored

# Minutes to compile; tests of checkpoints see to eight devices in seconds.
pytestmark = pytest.mark.slow


def _records(workdir):
  """The steps that were done on these devices."""
  records = metrics.read_metrics(workdir / metrics.FILE)
  return [record for record in records if record['step'] > tiny_runs.STEPS]


def _specs(workdir):
  """How the arrays of the last state were split, by name."""
  folder = epath.Path(workdir) / 'checkpoints' / str(tiny_runs.MORE_STEPS)
  leaves = stored.shapes(folder)
  return {
      name: str(leaf.sharding.partition_spec) for name, leaf in leaves.items()
  }


def test_eight_devices_train_as_one_does(sequels, eight):
  one, eight = _records(sequels.longer), _records(eight)
  assert [record['step'] for record in one] == [9, 10, 11]
  for name, tolerance in (('loss', 1e-5), ('grad_norm', 1e-4)):
    np.testing.assert_allclose(
        [record[name] for record in eight],
        [record[name] for record in one],
        rtol=tolerance,
        err_msg=name,
    )


def test_parameters_are_split_over_the_mesh(sequels, eight):
  one, eight = _specs(sequels.longer), _specs(eight)
  assert not any('fsdp' in spec for spec in one.values())
  for part in ('params', 'ema', 'opt_state'):
    assert any(part in name for name, spec in eight.items() if 'fsdp' in spec)
