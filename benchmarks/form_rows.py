"""Rows of single operations, in each of the forms that they have.

A row called `auto` is what this platform gets by default; the rows after it
change one form, to what it is not by default.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import inputs, ledger, model_rows
from glip_jax.models import swin
from glip_jax.ops import bi_attention, deform_conv, forms, nms

# Forms of the gradient alone.
_BACKWARD = ('sums_by_product', 'fusion_remat')


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How large the operations are.

  Attributes:
    num_images: in a batch.
    levels: (h, w) of the pyramid's maps.
    width: of their channels.
    fusion_widths: of image and text features and of all heads in the fusion.
    tokens: of a prompt in the fusion; in the text encoder there are 256.
    boxes: that are suppressed.
    stages: (h, w, channels, heads) of stages of a backbone.
    chunks: positions of the fusion that are visited at a time.
    variant: whose text encoder is measured.
  """

  num_images: int = 2
  levels: tuple[tuple[int, int], ...] = inputs.PYRAMID
  width: int = 256
  fusion_widths: tuple[int, int, int] = inputs.WIDTHS
  tokens: int = 256
  boxes: int = 5000
  stages: tuple[tuple[int, int, int, int], ...] = (
      (200, 336, 96, 3),
      (50, 84, 384, 12),
  )
  chunks: tuple[int, ...] = (2240, 5600)
  variant: str = 'T'


SMALL = Sizes(
    levels=((12, 10), (6, 5)),
    width=16,
    fusion_widths=(16, 24, 64),
    tokens=64,
    boxes=600,
    stages=((14, 14, 16, 2),),
    chunks=(),
    variant=model_rows.SMALLEST,
)


@dataclasses.dataclass(frozen=True)
class Case:
  """An operation and the forms that it has.

  Attributes:
    name: of the operation.
    make: () -> (function, arguments).
    forms: names in `forms.Forms`.
    argnums: arguments that there are gradients of; none for forward alone.
  """

  name: str
  make: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]
  forms: tuple[str, ...]
  argnums: tuple[int, ...] = ()


def rows(
    sizes: Sizes, dtype: str, seconds: float
) -> Iterator[tuple[str, Callable[[], ledger.Figures]]]:
  """(name, what measures it) of every row, to be measured one by one.

  Args:
    sizes: of the operations.
    dtype: of maps, features and matrix products.
    seconds: about how long to run each row.
  """
  for case in _cases(sizes, dtype):
    for backward in (False, True) if case.argnums else (False,):
      run = functools.partial(_measure, case, backward, seconds)
      what = 'gradient' if backward else 'forward'
      title = f'{case.name}, {dtype}, {what}'
      yield f'{title}: auto', functools.partial(run, {})
      for form in case.forms:
        if backward or form not in _BACKWARD:
          change = {form: _other(form)}
          yield f'{title}: {form}={change[form]}', functools.partial(
              run, change
          )
  yield f'gather rows, {dtype}, as one corner of one tap', functools.partial(
      _rows_of_table, _gather, sizes, dtype, seconds
  )
  yield 'scatter-add rows, float32, likewise', functools.partial(
      _rows_of_table, _scatter, sizes, 'float32', seconds
  )


def _measure(case, backward, seconds, change) -> ledger.Figures:
  run, arguments = case.make()
  if backward:
    run = inputs.with_gradient(run, case.argnums)
  with forms.use(**change):
    return ledger.measure(run, arguments, seconds=seconds)


def _other(form: str) -> str:
  """What a form is not by default on this device."""
  on = form not in forms.CPU_ALONE or jax.devices()[0].platform == 'cpu'
  return 'off' if on else 'on'


def _cases(sizes: Sizes, dtype: str) -> Iterator[Case]:
  pair = (sizes, dtype)
  yield Case(
      'deformable P3',
      functools.partial(_deform, *pair, 1),
      ('deform_blocks', 'sums_by_product'),
      (0, 1, 2),
  )
  yield Case(
      'deformable pyramid',
      functools.partial(_deform, *pair, len(sizes.levels)),
      ('deform_tables', 'deform_blocks'),
      (0, 1, 2),
  )
  yield Case(
      'fusion',
      functools.partial(_fusion, *pair, 768 if sizes.width > 100 else 20),
      ('token_lengths', 'fusion_chunks', 'fusion_remat'),
      (0, 1, 4),
  )
  for chunk in sizes.chunks:
    yield Case(
        f'fusion in chunks of {chunk}',
        functools.partial(_fusion, *pair, chunk),
        (),
        (0, 1, 4),
    )
  yield Case(
      'text encoder', functools.partial(_text, *pair), ('token_lengths',)
  )
  for stage in sizes.stages:
    yield Case(
        f'two blocks of {stage[2]} channels',
        functools.partial(_blocks, *pair, stage),
        ('flat_dense', 'heads_first'),
        (0, 1),
    )
  yield Case(
      'suppression', functools.partial(_suppression, sizes), ('nms_blocks',)
  )


def _deform(sizes: Sizes, dtype: str, num_levels: int):
  levels, b = sizes.levels[:num_levels], sizes.num_images
  plan = inputs.dyconv_plan(num_levels)
  run = inputs.deform_form(deform_conv.pyramid_deform_conv, levels, plan, b)
  return run, inputs.deform(levels, plan, b, sizes.width, dtype)


def _fusion(sizes: Sizes, dtype: str, chunk: int):
  positions = sum(h * w for h, w in sizes.levels)
  run = functools.partial(
      bi_attention.bi_attention, num_heads=inputs.HEADS, chunk=chunk
  )
  return run, inputs.fusion(
      sizes.num_images, positions, sizes.tokens, dtype, sizes.fusion_widths
  )


def _text(sizes: Sizes, dtype: str):
  recipe = model_rows.make_recipe(sizes.variant, dtype)
  prompt = inputs.batch((32, 32), sizes.num_images, 256).prompt
  return recipe.encode_text, (
      model_rows.make_params(sizes.variant),
      jax.device_put(prompt),
  )


def _blocks(sizes: Sizes, dtype: str, stage: tuple[int, int, int, int]):
  """Two blocks of a stage, of which one shifts its windows."""
  height, width, channels, heads = stage
  b, window = sizes.num_images, 7
  x = jax.random.normal(jax.random.key(0), (b, height, width, channels))
  cells = jnp.array([[height, width]] * b)
  pair = [
      swin.SwinBlock(heads, window, shift, dtype=jnp.dtype(dtype))
      for shift in (0, window // 2)
  ]
  params = inputs.params(pair[0].init, x, cells)['params']

  def run(params, x):
    for block in pair:
      x = block.apply({'params': params}, x, cells)
    return x

  return run, (params, x.astype(dtype))


def _suppression(sizes: Sizes):
  run = functools.partial(
      nms.non_max_suppression, threshold=0.6, max_outputs=100
  )
  return jax.vmap(run), inputs.suppression(sizes.num_images, sizes.boxes, 80)


def _rows_of_table(run, sizes: Sizes, dtype: str, seconds: float):
  """Reads or adds a row for each cell of the finest map, near its own."""
  (height, width), b = sizes.levels[0], sizes.num_images
  keys = jax.random.split(jax.random.key(0), 3)
  count, pitch = height * width, width + 2
  moved = jax.random.randint(keys[0], (2, b, count), -3, 4)
  place = jnp.arange(count) // width, jnp.arange(count) % width
  rows, columns = (
      jnp.clip(own + by, 0, side - 1)
      for own, by, side in zip(place, moved, (height, width), strict=True)
  )
  index = (rows + 1) * pitch + columns + 1
  shape = (b, (height + 2) * pitch, sizes.width)
  table = jax.random.normal(keys[1], shape).astype(dtype)
  values = jax.random.normal(keys[2], (b, count, sizes.width)).astype(dtype)
  return ledger.measure(run, (table, index, values), seconds=seconds)


def _gather(table, index, values):
  del values
  take = lambda t, i: t.at[i].get(mode='promise_in_bounds')
  return jax.vmap(take)(table, index)


def _scatter(table, index, values):
  add = lambda t, i, v: t.at[i].add(v, mode='promise_in_bounds')
  return jax.vmap(add)(table, index, values)
