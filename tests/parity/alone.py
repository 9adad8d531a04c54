"""The answers of the official code to images that it saw one at a time.

Each was padded to a multiple of 32 alone. Ours must give the same numbers in a
batch of all of them, in any order and canvas; `padding.py` prints how near.
"""

import functools

import compiling
import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.detectors.glip import stages
from parity import detections, reference


class Alone:
  """The stored answers to images that the official code saw alone."""

  def __init__(self, name: str):
    stored = reference.folder(name).parent / 'alone' / f'{name}.npz'
    if not stored.exists():
      raise SystemExit(
          f'{name}: {stored} is not there; nanoA nanoB nanoL A B L'
      )
    self.arrays = np.load(stored)
    self.recipe, self.params = reference.model(name)
    self.count = sum(key.endswith('_size_hw') for key in self.arrays.files)

  def batch(self, canvas: tuple[int, int], order, num_tokens: int = 256):
    """The images in an order, in a canvas, with their common prompt."""
    a = self.arrays
    sizes = np.array([a[f'img{i}_size_hw'] for i in order], np.int32)
    if np.any(sizes > np.array(canvas)):
      raise SystemExit(f'canvas {canvas} does not hold {sizes.max(axis=0)}')
    image = np.zeros((len(order), *canvas, 3), np.uint8)
    for row, i in enumerate(order):
      image[row, : sizes[row, 0], : sizes[row, 1]] = a[f'img{i}_uint8_rgb']
    spans, _ = reference.positive_map(a['positive_map_json'])
    repeat = lambda x: np.broadcast_to(x, (len(order), *x.shape))
    return types.Batch(
        image=image,
        size=sizes,
        extent=np.array([a[f'img{i}_padded_hw'] for i in order], np.int32),
        scale=np.ones((len(order), 2), np.float32),
        id=np.array(order, np.int32),
        prompt=types.Prompt(
            repeat(a['input_ids'].reshape(-1)[:num_tokens].astype(np.int32)),
            repeat(a['attention_mask'].reshape(-1)[:num_tokens] > 0),
            repeat(spans[:, :num_tokens]),
        ),
    )

  @functools.cached_property
  def forward(self):
    """(params, batch) -> (outputs, box deltas, detections), compiled."""

    @compiling.full_jit
    def forward(params, batch):
      outputs, found = stages.run(
          self.recipe.model,
          params,
          self.recipe.config.image.normalize(batch.image, batch.size),
          batch.extent,
          batch.prompt.ids,
          batch.prompt.mask,
      )
      deltas = found['head/deltas']
      return outputs, deltas, self.recipe.decode(outputs, batch)

    return forward

  def errors(self, batch: types.Batch) -> list[dict[str, float]]:
    """For each image the largest errors, and the share of detections."""
    with jax.default_matmul_precision('highest'):
      outputs, deltas, found = self.forward(
          self.params, jax.tree.map(jnp.asarray, batch)
      )
    rows = []
    for row, i in enumerate(batch.id):
      own = np.asarray(outputs.valid[row])
      mine = {
          'dot_product_logits_valid': outputs.logits[row],
          'bbox_reg': deltas[row],
          'centerness': outputs.quality[row][:, None],
      }
      errors = {}
      for key, value in mine.items():
        want = self.arrays[f'img{i}_{key}'][0]
        value = np.asarray(value)[own][:, : want.shape[1]]
        assert value.shape == want.shape, (key, value.shape, want.shape)
        errors[key] = float(np.abs(value - want).max())
      rows.append(errors | {'detections': self._share(i, row, found)})
    return rows

  def _share(self, i: int, row: int, found: types.Detections) -> float:
    """Share of the stored detections of image i found one to one."""
    _, names = reference.positive_map(self.arrays['positive_map_json'])
    want = detections.stored(self.arrays, f'dets{i}_{{}}')
    mine = detections.labelled(found, row, names)
    return detections.matched(want, mine)
