"""Losses and positive sets on the stored training batch."""

import jax
import numpy as np

from glip_jax.detectors.glip import objective
from parity import reference, stages

# Of a loss, relative.
LOSS = 1e-5
_LOSSES = {
    'loss_reg': 'loss_box',
    'loss_centerness': 'loss_centerness',
    'loss_dot_product_token': 'loss_token',
}


def rows(name: str, *, floor: bool = False) -> list[stages.Row]:
  """Every loss beside the reference's; none is computed in float64.

  Args:
    name: of the model.
    floor: has no meaning here.
  """
  del floor
  return [
      stages.Row(key, key, error, size, LOSS * size)
      for key, (error, size) in loss_errors(name).items()
  ]


def loss_errors(name: str) -> dict[str, tuple[float, float]]:
  """(absolute error, stored value) of every loss."""
  recipe, _ = reference.model(name)
  stored = reference.stored(name)
  outputs, _ = reference.run(name, 'train')
  batch = reference.training_batch(name)
  total, parts = jax.jit(recipe.loss)(outputs, batch)
  mine = {'loss_total': total}
  mine |= {key: parts[part] for key, part in _LOSSES.items()}
  return {
      key: (abs(float(value) - float(stored[key])), float(stored[key]))
      for key, value in mine.items()
  }


def positive_sets(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
  """(ours, stored) anchor -> box, or -1, for each image."""
  outputs, _ = reference.run(name, 'train')
  stored = reference.stored(name)
  mine = jax.jit(objective.match)(outputs, reference.training_batch(name))
  want = np.full(mine.shape, -1)
  for i in range(2):
    anchors = stored[f'train_img{i}_pos_anchor_idx']
    want[i, anchors] = stored[f'train_img{i}_pos_matched_gt']
  return list(zip(np.asarray(mine), want, strict=True))
