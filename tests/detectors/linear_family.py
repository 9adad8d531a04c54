"""A second family in fifty lines: a linear head on the pyramid.

It has neither anchors, nor a quality, nor suppression, nor thresholds: nothing
of GLIP's head. Every position owns the boxes that its centre lies in.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.detectors import recipe as recipes
from glip_jax.fields import field
from glip_jax.models import bert, fpn, swin
from glip_jax.ops import extents, losses, phrases

STRIDES = (8, 16, 32, 64, 128)


@dataclasses.dataclass(frozen=True)
class Config:
  """`config.model` where `family` is 'linear'."""

  family: str = field('linear', 'family of the detector', choices=('linear',))
  width: int = field(16, 'channels of everything', least=4)


class Model(nn.Module):
  """Positions of a pyramid scored against tokens by a product."""

  width: int

  def setup(self):
    self.backbone = swin.Swin(self.width, (1,) * 4, (1,) * 4, 4)
    self.neck = fpn.FPN(self.width)
    self.language = bert.Bert(4096, self.width, 1, 1, self.width, 256)
    self.boxes = nn.Dense(4)

  def encode_image(self, image, extent, train=False):
    maps = self.backbone(image, extent, train=train)
    return self.neck(maps[1:], extent, train=train)

  def encode_text(self, ids, mask, train=False):
    return types.Text(self.language(ids, mask, train=train), mask)

  def ground(self, levels, text, extent):
    flat, centres, inside = [], [], []
    for x, stride in zip(levels, STRIDES, strict=True):
      b, h, w, d = x.shape
      y, x_ = np.mgrid[:h, :w] * stride + stride / 2
      cell = np.stack([x_, y, x_, y], -1).reshape(-1, 4)
      centres.append(np.concatenate([cell, np.full((h * w, 1), stride)], -1))
      flat.append(x.reshape(b, -1, d))
      own = extents.own_cells(extent, stride)
      inside.append(extents.inside(own, (h, w)).reshape(b, -1))
    x, centre = jnp.concatenate(flat, 1), np.concatenate(centres)
    sides = nn.softplus(self.boxes(x)) * centre[:, 4:]
    boxes = centre[:, :4] + sides * np.array([-1, -1, 1, 1])
    self.sow('intermediates', 'regions', x)
    logits = jnp.einsum('brd,btd->brt', x, text.tokens) - 4.0
    return types.Outputs(logits, boxes, None, None, jnp.concatenate(inside, 1))

  def __call__(self, image, extent, ids, mask, train=False):
    text = self.encode_text(ids, mask, train)
    return self.ground(self.encode_image(image, extent, train), text, extent)


class Linear:
  """The recipe of a config."""

  thresholds = {}
  show_threshold = 0.3

  def __init__(self, config):
    self.config, self.model = config, Model(config.width)

  def _pixels(self, image, size):
    del size
    return jnp.asarray(image, jnp.float32) / 255

  def _inputs(self, batch):
    image = self._pixels(batch.image, batch.size)
    return image, jnp.asarray(batch.extent), batch.prompt.ids, batch.prompt.mask

  def init(self, rng, batch):
    return self.model.init(rng, *self._inputs(batch))['params']

  def forward(self, params, batch, *, train=False, rngs=None):
    inputs = self._inputs(batch)
    return self.model.apply({'params': params}, *inputs, train, rngs=rngs)

  def encode_image(self, params, image, size, extent):
    inputs = self._pixels(image, size), jnp.asarray(extent)
    levels = self.model.apply(
        {'params': params}, *inputs, method='encode_image'
    )
    return types.Features(levels, size, extent)

  def encode_text(self, params, prompt):
    inputs = prompt.ids, prompt.mask
    return self.model.apply({'params': params}, *inputs, method='encode_text')

  def ground(self, params, features, text):
    inputs = features.levels, text, jnp.asarray(features.extent)
    return self.model.apply({'params': params}, *inputs, method='ground')

  def embed(self, params, features, text):
    inputs = features.levels, text, jnp.asarray(features.extent)
    outputs, state = self.model.apply(
        {'params': params}, *inputs, method='ground', mutable=['intermediates']
    )
    (regions,) = state['intermediates']['regions']
    return types.Embeddings(outputs, regions, text.tokens)

  def loss(self, outputs, batch):
    truth = batch.targets
    centre = (outputs.boxes[..., :2] + outputs.boxes[..., 2:])[:, :, None] / 2
    low, high = jnp.split(truth.boxes[:, None], 2, -1)
    owns = ((centre > low) & (centre < high)).all(-1) & truth.valid[:, None]
    owns &= outputs.valid[..., None]
    tokens = jnp.einsum('brm,bmt->brt', owns, truth.tokens) > 0
    focal = losses.region_word_focal_loss(
        outputs.logits, tokens, token_mask=batch.prompt.mask
    )
    focal = jnp.sum(focal, where=outputs.valid[..., None]) / len(focal)
    apart = jnp.abs(outputs.boxes[:, :, None] - truth.boxes[:, None]).mean(-1)
    box = jnp.sum(apart, where=owns) / jnp.maximum(owns.sum(), 1)
    parts = {'loss_token': focal, 'loss_box': 0.01 * box}
    return sum(parts.values()), parts

  def decode(self, outputs, batch):
    scores = jax.nn.sigmoid(outputs.logits)
    scores = phrases.phrase_scores(scores, batch.prompt.spans, mode='mean')
    named = batch.prompt.spans.any(-1)[:, None] & outputs.valid[..., None]
    flat = jnp.where(named, scores, 0).reshape(scores.shape[0], -1)
    best, index = jax.lax.top_k(flat, 50)
    region, label = jnp.divmod(index, scores.shape[-1])
    boxes = jnp.take_along_axis(outputs.boxes, region[..., None], 1)
    return types.Detections(boxes, best, label, best > 0)

  def lowest(self, threshold):
    del threshold
    return {}

  def check_prompts(self, *, num_tokens, vocab_size):
    del num_tokens, vocab_size

  def read_weights(self, state, params):
    del state, params

  def write_weights(self, params):
    raise NotImplementedError('nobody else has such a model')


ROW = recipes.Family(Config, {'linear': Config()}, Linear)
