"""Losses and positive sets on the stored training batch."""

import jax
import jax.numpy as jnp
import numpy as np
import parity_reference as reference_lib

from glip_jax.ops import assign

# Of a loss, relative.
LOSS = 1e-5
_LOSSES = {
    'loss_reg': 'loss_box',
    'loss_centerness': 'loss_centerness',
    'loss_dot_product_token': 'loss_token',
}


def loss_errors(name: str) -> dict[str, tuple[float, float]]:
  """(absolute error, stored value) of every loss."""
  recipe, _ = reference_lib.model(name)
  stored = reference_lib.reference(name)
  outputs, _ = reference_lib.run(name, 'train')
  batch = reference_lib.training_batch(name)
  total, parts = jax.jit(recipe.loss)(outputs, batch)
  mine = {'loss_total': total}
  mine |= {key: parts[part] for key, part in _LOSSES.items()}
  return {
      key: (abs(float(value) - float(stored[key])), float(stored[key]))
      for key, value in mine.items()
  }


def positive_sets(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
  """(ours, stored) anchor -> box, or -1, for each image."""
  outputs, _ = reference_lib.run(name, 'train')
  stored = reference_lib.reference(name)
  targets = reference_lib.training_batch(name).targets
  mine = assign.assign_atss(
      jnp.asarray(outputs.anchors),
      jnp.asarray(outputs.valid),
      targets.boxes,
      targets.valid,
      level_sizes=outputs.level_sizes,
  )
  want = np.full(mine.shape, -1)
  for i in range(2):
    anchors = stored[f'train_img{i}_pos_anchor_idx']
    want[i, anchors] = stored[f'train_img{i}_pos_matched_gt']
  return list(zip(np.asarray(mine), want, strict=True))
