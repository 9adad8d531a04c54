"""The query model on the tiny world, at the least of its sizes.

python train.py --config=tests/detectors/query_config.py --workdir=runs/x
"""

import pathlib
import sys

import ml_collections

sys.path.append(str(pathlib.Path(__file__).parents[1]))
sys.path.append(str(pathlib.Path(__file__).parent / 'query'))

import query_batches  # noqa: E402
import tiny_config  # noqa: E402

from configs import query  # noqa: E402

STEPS = 2


def get_config() -> ml_collections.ConfigDict:
  """Two steps of the tiny run."""
  config = tiny_config.get_config()
  shapes = query.get_config('shapes')
  config.model = shapes.model
  config.model.update_from_flattened_dict(
      query_batches.CHANGES | {'language.vocab_size': 4096}
  )
  # The test asks for the names of a prompt alone.
  config.model.decode.unknown = False
  config.data.extent_multiple = shapes.data.extent_multiple
  config.optimizer.frozen = shapes.optimizer.frozen
  config.steps = STEPS
  return config
