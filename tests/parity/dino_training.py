"""Losses, matches and gradients of Grounding DINO on the training batch.

The reference's loss of its encoder is of its own making: it classifies the
embeddings of the queries, by the words as they were before the encoder, and
takes the boxes without their gradient. `with_encoder` does the same, so that
all that goes into its total can be compared.
"""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.detectors.grounding_dino import (
    hugging_face_weights,
    objective,
)
from parity import dino, dino_stages, gradients, reference
from parity.stages import Row

# Of a total loss, of a part of it and of a gradient, relative.
LOSS, PART, GRADIENT = 1e-5, 1e-4, 1e-3
_ENDS = ('loss_ce', 'loss_bbox', 'loss_giou')
# Parameters whose true gradient is zero: of the keys of attention.
_ZERO = re.compile(r'(key|k_proj)\.bias$')


def with_encoder(
    params: Any, outputs: Any, stages: Any, batch: types.Batch
) -> Any:
  """The outputs with the encoder's as the reference has them."""
  tokens = stages['text_features'][0]
  logits = dino.encoder_logits(params, tokens, batch.prompt.mask)
  boxes = jax.lax.stop_gradient(outputs.encoder.boxes)
  encoder = types.Outputs(logits, boxes, None, None, outputs.valid)
  return outputs.replace(encoder=encoder)


def layers(outputs: Any) -> dict[str, types.Outputs]:
  """The outputs of each layer by the reference's name of its losses."""
  return {
      'final': outputs,
      **{f'aux{i}': layer for i, layer in enumerate(outputs.auxiliary)},
      'enc': outputs.encoder,
  }


def rows(name: str, *, floor: bool = False) -> list[Row]:
  """The totals and every part, beside the reference's.

  Args:
    name: of the model.
    floor: True computes them in float64 too.
  """
  mine, want = losses(name), stored_losses(name)
  exact = losses(name, double=True) if floor else {}
  measured = dino.stored(name).summary['noise_floor_fp32_vs_fp64']
  said, found = {'train_loss': measured.get('train_loss_abs', np.nan)}, []
  for key, size in want.items():
    total = key.startswith('train_loss')
    double = exact.get(key, np.nan)
    found.append(
        Row(
            stage=key,
            family=key if total else 'parts',
            error=abs(mine[key] - size),
            size=size,
            bound=(LOSS if total else PART) * size,
            floor=abs(mine[key] - double),
            theirs=abs(double - size),
            noise=said.get(key, np.nan),
        )
    )
  return found


def losses(name: str, *, double: bool = False) -> dict[str, float]:
  """The weighted totals of the reference, and its parts, by its names."""
  outputs, batch = _trained(name, double=double)
  config = dino.stored(name).recipe.config.loss
  with jax.enable_x64(double):
    sums = jax.jit(
        lambda layers: {
            key: [x.sum() for x in objective.layer_sums(layer, batch, config)]
            for key, layer in layers.items()
        }
    )(layers(outputs))
  count = float(np.sum(batch.targets.valid))
  weights = config.class_weight, config.box_weight, config.giou_weight
  parts, totals = {}, {}
  for key, values in sums.items():
    end = '' if key == 'final' else f'_{key.removeprefix("aux")}'
    values = [float(x) / count for x in values]
    parts |= {f'{what}{end}': x for what, x in zip(_ENDS, values, strict=True)}
    totals[key] = sum(w * x for w, x in zip(weights, values, strict=True))
  whole = sum(totals.values())
  return {
      'train_loss': whole,
      'train_loss_without_aux': totals['final'] + totals['enc'],
      'train_loss_decoder_only': whole - totals['enc'],
  } | parts


def stored_losses(name: str) -> dict[str, float]:
  """The same of the reference."""
  summary = dino.stored(name).summary
  parts = {
      key: x
      for key, x in summary['train_loss_dict'].items()
      if key.startswith(_ENDS)
  }
  totals = {k: x for k, x in summary.items() if k.startswith('train_loss')}
  return {k: x for k, x in totals.items() if k != 'train_loss_dict'} | parts


def matches(name: str) -> dict[str, bool]:
  """Whether boxes get the reference's queries, by layer and image."""
  outputs, batch = _trained(name)
  stored = dino.stored(name)
  config, found = stored.recipe.config.loss, {}
  match = jax.jit(lambda layer: objective.match(layer, batch, config))
  for key, layer in layers(outputs).items():
    query = np.asarray(match(_plain(layer)))
    for i, want in enumerate(stored.summary['train_matches'][key]):
      pairs = dict(zip(want['target'], want['query'], strict=True))
      mine = {m: int(q) for m, q in enumerate(query[i]) if q >= 0}
      found[f'matches of {key}, image {i}, {len(pairs)}'] = mine == pairs
  return found


def _plain(layer) -> types.Outputs:
  return types.Outputs(layer.logits, layer.boxes, None, None, layer.valid)


def _trained(name: str, *, double: bool = False):
  """(outputs, batch) of the training batch."""
  stored = dino.stored(name)
  outputs, stages = dino_stages.outputs_of(name, 'train', double=double)
  with jax.enable_x64(double):
    batch = stored.batch('train')
    if double:
      batch = jax.tree.map(jnp.asarray, reference.in_float64(batch))
    outputs = with_encoder(stored.params, outputs, stages, batch)
  return outputs, batch


@functools.cache
def comparison(name: str) -> gradients.Comparison:
  """That of the gradients."""
  measured = dino.stored(name).summary['noise_floor_fp32_vs_fp64']
  return gradients.Comparison(
      stored=_stored(name),
      ours=lambda params, double: _ours(name, params, double=double),
      params=lambda: dino.stored(name).params,
      draws=lambda: dino_stages.draws(name),
      bound=GRADIENT,
      zero=_ZERO,
      noise=tuple(measured.get('grad_rel_median_p95', ())),
  )


def _stored(name: str) -> gradients.Gradients:
  """The reference's."""
  stored = dino.stored(name)
  keys = stored.summary['grad_keys']
  return gradients.Gradients(
      total=stored.summary['grad_global_norm'],
      norms=dict(zip(keys, stored['grad_norm'].tolist(), strict=True)),
      entries=dict(zip(keys, stored['grad_sample'], strict=True)),
      sizes={},
  )


def _ours(name: str, params: Any, *, double: bool) -> gradients.Gradients:
  """Ours."""
  _, grads = gradient(name, params, double=double)
  grads = jax.tree.map(np.asarray, grads)
  total = gradients.norm(grads)
  grads = hugging_face_weights.to_hugging_face(grads)
  norms, entries, sizes = {}, {}, {}
  for key, want in _stored(name).entries.items():
    mine = np.asarray(grads[dino.stored(name).names[key]], np.float64)
    norms[key], sizes[key] = float(np.linalg.norm(mine)), mine.size
    entries[key] = reference.sample(f'grad/{key}', mine, want.size)
  return gradients.Gradients(total, norms, entries, sizes)


def gradient(name: str, params: Any, *, double: bool = False):
  """(total loss, gradients) with the reference's own loss of the encoder.

  Args:
    name: of the model.
    params: parameters.
    double: True computes in float64.
  """
  stored = dino.stored(name)
  inputs = params, stored.batch('train'), stored.chosen('train')
  if not double:
    with jax.default_matmul_precision('highest'):
      return _program(name, False)(*inputs)
  with jax.enable_x64(True):
    inputs = jax.tree.map(jnp.asarray, reference.in_float64(inputs))
    return _program(name, True)(*inputs)


@functools.cache
def _program(name: str, double: bool):
  """Compiled: params, batch, chosen -> (loss, gradients)."""
  stored = dino.stored(name)
  recipe = stored.precise if double else stored.recipe

  def loss(params, batch, chosen):
    outputs, stages = dino.apply(recipe, params, batch, chosen)
    return recipe.loss(with_encoder(params, outputs, stages, batch), batch)[0]

  return jax.jit(
      jax.value_and_grad(loss), compiler_options=dict(reference.OPTIONS)
  )


def forget() -> None:
  """Drops what is compiled: memory."""
  _program.cache_clear()
