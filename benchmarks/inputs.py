"""Random inputs of models and operations, as large as GLIP's."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.ops import bi_attention, deform_conv

# The levels of an image of 800 x 1333.
PYRAMID = ((100, 168), (50, 84), (25, 42), (13, 21), (7, 11))
HEADS = 8
# Of image and text features, and of all heads of the fusion.
WIDTHS = (256, 768, 2048)

# (level, stride, kernel) of a deformable convolution.
Plan = Sequence[tuple[int, int, int]]


def batch(size: tuple[int, int], num_images: int, tokens: int) -> types.Batch:
  """Images of noise with 80 names of two tokens and ten boxes each.

  Args:
    size: (h, w) of the images; their canvas is a multiple of 32.
    num_images: in the batch.
    tokens: of a prompt; 195 of 256 are in use.
  """
  height, width = size
  b, m = num_images, 10
  rng = np.random.default_rng(0)
  canvas = [-(-side // 32) * 32 for side in size]
  image = np.zeros((b, *canvas, 3), np.uint8)
  image[:, :height, :width] = rng.integers(0, 256, (b, height, width, 3))
  repeat = lambda x: np.broadcast_to(x, (b, *np.shape(x)))
  mask = np.arange(tokens) < tokens * 195 // 256
  places = 1 + np.arange(80) * 2 % max(tokens // 2, 1)
  spans = np.abs(np.arange(tokens) - places[:, None] - 0.5) < 1
  corners = np.sort(rng.uniform(0, 1, (b, m, 2, 2)), axis=2)
  return types.Batch(
      image=image,
      size=repeat(np.array([height, width], np.int32)),
      extent=repeat(np.array(canvas, np.int32)),
      scale=np.ones((b, 2), np.float32),
      id=np.arange(b, dtype=np.int32),
      prompt=types.Prompt(
          rng.integers(1, 1000, (b, tokens)).astype(np.int32),
          repeat(mask),
          repeat(spans & mask),
      ),
      targets=types.Targets(
          boxes=(corners * [width, height]).reshape(b, m, 4).astype('f4'),
          phrase=np.zeros((b, m), np.int32),
          tokens=repeat(spans[:m] & mask),
          valid=np.ones((b, m), bool),
          crowd=np.zeros((b, m), bool),
      ),
  )


def params(init: Callable[..., Any], *arguments: Any) -> Any:
  """Small random weights of the shapes that an initialisation would make."""
  shapes = jax.eval_shape(init, jax.random.key(0), *arguments)
  rng = np.random.default_rng(0)
  draw = lambda x: 0.05 * rng.standard_normal(x.shape, np.float32)
  return jax.device_put(jax.tree.map(draw, shapes))


def fusion(
    num_images: int,
    positions: int,
    tokens: int,
    dtype: str,
    widths: tuple[int, int, int] = WIDTHS,
) -> tuple[Any, ...]:
  """(image, text, inside, mask, projections) of `bi_attention`."""
  keys = iter(jax.random.split(jax.random.key(0), 16))
  draw = lambda *shape: jax.random.normal(next(keys), shape)
  image_width, text_width, heads_width = widths

  def affine(width: int, out: int) -> bi_attention.Affine:
    kernel = draw(width, out) * (2 / (width + out)) ** 0.5
    return bi_attention.Affine(kernel, 0.1 * draw(out))

  projections = bi_attention.Projections(
      image_query=affine(image_width, heads_width),
      text_key=affine(text_width, heads_width),
      image_value=affine(image_width, heads_width),
      text_value=affine(text_width, heads_width),
      image_out=affine(heads_width, image_width),
      text_out=affine(heads_width, text_width),
  )
  b, n, t = num_images, positions, tokens
  repeat = lambda x: jnp.broadcast_to(x, (b, *x.shape))
  return (
      draw(b, n, image_width).astype(dtype),
      draw(b, t, text_width).astype(dtype),
      repeat(jnp.arange(n) < n - n // 50),
      repeat(jnp.arange(t) < t * 195 // 256),
      projections,
  )


def dyconv_plan(num_levels: int) -> Plan:
  """What one DyConv reads of its levels: itself, the finer, the coarser."""
  plan = []
  for i in range(num_levels):
    plan.append((i, 1, 1))
    if i:
      plan.append((i - 1, 2, 2))
    if i + 1 < num_levels:
      plan.append((i + 1, 1, 0))
  return plan


def deform(
    sizes: Sequence[tuple[int, int]],
    plan: Plan,
    num_images: int,
    width: int,
    dtype: str,
) -> tuple[Any, ...]:
  """(maps, [(offsets, modulation), ...], kernels) of `deform_form`."""
  keys = iter(jax.random.split(jax.random.key(0), 64))
  b, d = num_images, width
  maps = [
      jax.random.normal(next(keys), (b, *size, d)).astype(dtype)
      for size in sizes
  ]
  sampling = []
  for level, stride, _ in plan:
    out = [-(-side // stride) for side in sizes[level]]
    offsets = 1.5 * jax.random.normal(next(keys), (b, *out, 18))
    sampling.append((offsets, jax.random.uniform(next(keys), (b, *out, 9))))
  num_kernels = 1 + max(kernel for *_, kernel in plan)
  shape = (num_kernels, 9, d, d)
  return maps, sampling, 0.02 * jax.random.normal(next(keys), shape)


def deform_form(
    convolve: Callable[..., Any],
    sizes: Sequence[tuple[int, int]],
    plan: Plan,
    num_images: int,
) -> Callable[..., Any]:
  """A function of what `deform` makes, by `pyramid_deform_conv` or the like."""
  cells = [jnp.array([size] * num_images) for size in sizes]

  def run(maps, sampling, kernels):
    readings = [
        deform_conv.Reading(level, *pair, stride, kernel)
        for (level, stride, kernel), pair in zip(plan, sampling, strict=True)
    ]
    return convolve(maps, cells, readings, kernels)

  return run


def suppression(num_images: int, num_boxes: int, classes: int):
  """(boxes, scores, labels, valid): candidates gather around 100 objects."""
  shape = (num_images, num_boxes)
  keys = jax.random.split(jax.random.key(0), 4)
  object_ = jax.random.randint(keys[0], shape, 0, 100)
  centres = jax.random.uniform(keys[1], (100, 4), minval=50, maxval=750)
  noise = 8 * jax.random.normal(keys[2], (*shape, 4))
  corner = (centres[object_] + noise)[..., :2]
  boxes = jnp.concatenate([corner, corner + 90 + noise[..., 2:]], axis=-1)
  scores = jax.random.uniform(keys[3], shape)
  return boxes, scores, object_ % classes, jnp.ones(shape, bool)


def with_gradient(
    run: Callable[..., Any], argnums: Sequence[int]
) -> Callable[..., Any]:
  """Gradients of a number that all results of a function take part in."""

  def total(*arguments):
    leaves = jax.tree.leaves(run(*arguments))
    return sum(jnp.sum(jnp.sin(y.astype(jnp.float32))) for y in leaves)

  return jax.grad(total, argnums=tuple(argnums))
