"""A second family, which the table did not have, on the tiny world.

python train.py --config=tests/detectors/linear_config.py --workdir=runs/x
"""

import pathlib
import sys

import ml_collections

sys.path.append(str(pathlib.Path(__file__).parents[1]))
sys.path.append(str(pathlib.Path(__file__).parent))

import linear_family  # noqa: E402
import tiny_config  # noqa: E402

from glip_jax.detectors import recipe  # noqa: E402

STEPS = 2


def get_config() -> ml_collections.ConfigDict:
  """Two steps of the tiny run, of a family that this adds to the table."""
  recipe.FAMILIES['linear'] = linear_family.ROW
  config = tiny_config.get_config()
  config.model = ml_collections.ConfigDict(dict(family='linear', width=16))
  config.optimizer.decay_scales = ()
  config.steps = STEPS
  return config
