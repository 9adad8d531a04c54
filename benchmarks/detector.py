"""A whole model: its fast forms against the same model in plain forms.

  python -m benchmarks.detector [--variant=T] [--size=800x1333] [--tokens=256]
      [--batch=1] [--dtype=bfloat16] [--gradient] [--parts]

The plain forms are put in the places of fusion, deformable convolution,
upsampling and suppression, and no tokens are left out, before the model is
traced; everything else, weights included, is the same. `--parts` times the
parts of the fast model one by one.
"""

import contextlib
import dataclasses
import unittest.mock

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import inputs, oracles, timing
from glip_jax import configuring
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.glip import dyconv, dyhead
from glip_jax.ops import (
    anchors,
    bi_attention,
    deform_conv,
    extents,
    forms,
    nms,
    resample,
)

VARIANT = flags.DEFINE_string('variant', 'T', 'Name of a model.')
SIZE = flags.DEFINE_string('size', '800x1333', 'Height and width of an image.')
TOKENS = flags.DEFINE_integer('tokens', 256, 'Tokens; 195 of 256 are in use.')
BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
DTYPE = flags.DEFINE_string('dtype', 'float32', 'Of matrix products.')
GRADIENT = flags.DEFINE_bool('gradient', False, 'Also forward and gradient.')
PARTS = flags.DEFINE_bool('parts', False, 'Time the parts alone, fast form.')
PLAIN = flags.DEFINE_bool('plain', True, 'Compare with the plain forms.')
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Runs of each form.')


@contextlib.contextmanager
def plain_forms():
  """Puts the plain forms in the places of the fast ones."""
  with contextlib.ExitStack() as stack:
    stack.enter_context(forms.use(token_lengths='off'))
    put = lambda *args: stack.enter_context(unittest.mock.patch.object(*args))
    for module, name, form in (
        (bi_attention, 'bi_attention', oracles.plain_bi_attention),
        (deform_conv, 'pyramid_deform_conv', oracles.plain_deform_conv),
        (resample, 'upsample_bilinear', oracles.plain_resample),
        (nms, 'non_max_suppression', oracles.plain_nms),
    ):
      put(module, name, getattr(form, name))
    yield


def compare_whole(recipe, params, batch) -> None:
  """Forward with decoding, and where asked for forward and gradient."""

  def forward(params, batch):
    return recipe.decode(recipe.forward(params, batch), batch)

  def gradient(params, batch):
    def total(params):
      return recipe.loss(recipe.forward(params, batch), batch)[0]

    return jax.grad(total)(params)

  def plain(form):
    def traced(*inputs):
      with plain_forms():
        return form(*inputs)

    return traced

  for title, form in (('forward', forward), ('forward, gradient', gradient)):
    if form is gradient and not GRADIENT.value:
      continue
    chosen = {'plain': plain(form)} if PLAIN.value else {}
    chosen['fast'] = form
    timing.report(
        f'{title}: {VARIANT.value}, {BATCH.value} x {SIZE.value},'
        f' {TOKENS.value} tokens, {DTYPE.value}',
        timing.compare(chosen, (params, batch), rounds=ROUNDS.value),
    )


def compare_parts(recipe, params, batch) -> None:
  """The parts of the forward pass, one by one."""
  image = jax.jit(recipe.normalize)(batch.image, batch.size)
  parts = encoders(recipe.model, params, image, batch)
  parts |= decoders(recipe.model, params, image.shape[1:3], batch)
  for name, (module, weights, given) in parts.items():
    module = module.clone(parent=None)
    form = lambda w, *x, module=module: module.apply({'params': w}, *x)
    timed = timing.compare(
        {'fast': form}, (weights, *given), rounds=ROUNDS.value
    )
    timing.report(name, timed)


def encoders(model, params, image, batch):
  """Name -> (module, its weights, its inputs) of what knows one side only."""
  extent = jnp.asarray(batch.extent)
  sizes = anchors.pyramid_sizes(*image.shape[1:3])[:3]
  maps = tuple(
      _noise(*size, model.backbone.embed_dim * 2**i)
      for i, size in enumerate(sizes, start=1)
  )
  prompt = (jnp.asarray(batch.prompt.ids), jnp.asarray(batch.prompt.mask))
  return {
      'backbone': (model.backbone, params['backbone'], (image, extent)),
      'neck': (model.neck, params['neck'], (maps, extent)),
      'language': (model.language, params['language'], prompt),
  }


def decoders(model, params, canvas, batch):
  """Name -> (module, its weights, its inputs) of one block, and the head."""
  tower, extent = model.tower, jnp.asarray(batch.extent)
  mask = jnp.asarray(batch.prompt.mask)
  cells = tuple(extents.own_cells(extent, s) for s in anchors.STRIDES)
  width = model.neck.width
  levels = tuple(_noise(*s, width) for s in anchors.pyramid_sizes(*canvas))
  text = _noise(TOKENS.value, model.language.width)
  block = jax.tree.map(lambda x: x[0], params['tower']['blocks'])
  convolve = dyconv.DyConv(width, tower.num_groups, dtype=tower.dtype)
  head = (levels, text, mask, extent)
  parts = {
      'dyconv, one block': (convolve, block['dyconv'], (levels, cells)),
      'head': (model.head, params['head'], head),
  }
  if tower.fusion is not None:
    flat = dyhead.flatten_levels(levels)
    given = (flat, text, jnp.ones(flat.shape[:2], bool), mask)
    parts['fusion, one block'] = (tower.fusion(), block['fusion'], given)
  return parts


def _noise(*shape: int):
  return jax.random.normal(jax.random.key(0), (BATCH.value, *shape))


def main(_):
  timing.start()
  config = recipes.variant(VARIANT.value)
  recipe = recipes.build(dataclasses.replace(config, dtype=DTYPE.value))
  size = tuple(map(int, SIZE.value.split('x')))
  batch = inputs.batch(size, BATCH.value, TOKENS.value)
  params = inputs.params(recipe.init, batch)
  print(f'products of 4096: {timing.matmul_rate() / 1e9:.0f} GFLOP/s')
  if PARTS.value:
    compare_parts(recipe, params, batch)
  compare_whole(recipe, params, batch)
  stats = jax.devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    print(f'peak memory {stats["peak_bytes_in_use"] / 1e9:.2f} GB')


if __name__ == '__main__':
  configuring.run(main)
