"""Bidirectional attention: one pass, projections absorbed, against plain forms.

  python -m benchmarks.fusion [--positions=22400] [--words=256] [--batch=1]
      [--gradient] [--chunks=256,512,1024] [--dtype=bfloat16]

22,400 positions are those of a picture of 800 x 1333. A fifth of a second of
arithmetic that both forms share bounds the ratio: the plain form makes 143
GFLOP of products a block, the fast one 57, as it leaves padding words out.
"""

import functools

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import oracles, timing, torch_forms
from glip_jax import configuring
from glip_jax.ops import bi_attention

POSITIONS = flags.DEFINE_integer('positions', 22_400, 'Image positions.')
WORDS = flags.DEFINE_integer('words', 256, 'Words; 195 of 256 are in use.')
BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
GRADIENT = flags.DEFINE_bool('gradient', False, 'Time forward and gradient.')
CHUNKS = flags.DEFINE_list('chunks', ['1024'], 'Positions visited at a time.')
DTYPE = flags.DEFINE_string('dtype', 'float32', 'Of image and text.')
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Runs of each form.')
HEADS, IMAGE, TEXT, WIDTH = 8, 256, 768, 2048


def make_inputs():
  """(image, text, inside, mask, projections) of random numbers."""
  keys = iter(jax.random.split(jax.random.key(0), 16))
  draw = lambda *shape: jax.random.normal(next(keys), shape)

  def affine(inputs, outputs):
    kernel = draw(inputs, outputs) * (2 / (inputs + outputs)) ** 0.5
    return bi_attention.Affine(kernel, 0.1 * draw(outputs))

  projections = bi_attention.Projections(
      image_query=affine(IMAGE, WIDTH),
      text_key=affine(TEXT, WIDTH),
      image_value=affine(IMAGE, WIDTH),
      text_value=affine(TEXT, WIDTH),
      image_out=affine(WIDTH, IMAGE),
      text_out=affine(WIDTH, TEXT),
  )
  b, n, t = BATCH.value, POSITIONS.value, WORDS.value
  repeat = lambda x: jnp.broadcast_to(x, (b, *x.shape))
  return (
      draw(b, n, IMAGE).astype(DTYPE.value),
      draw(b, t, TEXT).astype(DTYPE.value),
      repeat(jnp.arange(n) < n - n // 50),
      repeat(jnp.arange(t) < t * 195 // 256),
      projections,
  )


def _with_gradient(form):
  """Gradients of a number made of both messages."""

  def total(image, text, inside, mask, projections):
    heard, told = form(image, text, inside, mask, projections)
    return sum(jnp.sum(jnp.sin(x.astype(jnp.float32))) for x in (heard, told))

  return jax.grad(total, argnums=(0, 1, 4))


def main(_):
  timing.start()
  inputs = make_inputs()
  forms = {
      'plain': functools.partial(
          oracles.plain_bi_attention.bi_attention, num_heads=HEADS
      )
  }
  for chunk in map(int, CHUNKS.value):
    forms[f'one pass of {chunk}'] = functools.partial(
        bi_attention.bi_attention, num_heads=HEADS, chunk=chunk
    )
  if GRADIENT.value:
    forms = {name: _with_gradient(form) for name, form in forms.items()}
  if torch_forms.available() and DTYPE.value == 'float32':
    forms['torch, plain'] = torch_forms.Fusion(
        inputs, num_heads=HEADS, gradient=GRADIENT.value
    )
  print(f'products of 4096: {timing.matmul_rate() / 1e9:.0f} GFLOP/s')
  what = 'forward and gradient' if GRADIENT.value else 'forward'
  timing.report(
      f'{what}, {BATCH.value} x {POSITIONS.value} positions,'
      f' {WORDS.value} words, {DTYPE.value}',
      timing.compare(forms, inputs, rounds=ROUNDS.value),
  )


if __name__ == '__main__':
  configuring.run(main)
