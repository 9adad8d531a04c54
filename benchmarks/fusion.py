"""Bidirectional attention: one pass, projections absorbed, against plain forms.

  python -m benchmarks.fusion [--positions=22400] [--tokens=256] [--batch=1]
      [--gradient] [--chunks=256,512,1024] [--dtype=bfloat16]

22,400 positions are those of an image of 800 x 1333. A fifth of a second of
arithmetic that both forms share bounds the ratio: the plain form makes 143
GFLOP of products a block, the fast one 57, as it leaves padding tokens out.
"""

import functools

from absl import flags

from benchmarks import inputs, oracles, timing, torch_forms
from glip_jax import configuring
from glip_jax.ops import bi_attention

POSITIONS = flags.DEFINE_integer('positions', 22_400, 'Image positions.')
TOKENS = flags.DEFINE_integer('tokens', 256, 'Tokens; 195 of 256 are in use.')
BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
GRADIENT = flags.DEFINE_bool('gradient', False, 'Time forward and gradient.')
CHUNKS = flags.DEFINE_list('chunks', ['1024'], 'Positions visited at a time.')
DTYPE = flags.DEFINE_string('dtype', 'float32', 'Of image and text.')
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Runs of each form.')


def main(_):
  timing.start()
  arguments = inputs.fusion(
      BATCH.value, POSITIONS.value, TOKENS.value, DTYPE.value
  )
  forms = {
      'plain': functools.partial(
          oracles.plain_bi_attention.bi_attention, num_heads=inputs.HEADS
      )
  }
  for chunk in map(int, CHUNKS.value):
    forms[f'one pass of {chunk}'] = functools.partial(
        bi_attention.bi_attention, num_heads=inputs.HEADS, chunk=chunk
    )
  if GRADIENT.value:
    forms = {
        name: inputs.with_gradient(form, (0, 1, 4))
        for name, form in forms.items()
    }
  if torch_forms.available() and DTYPE.value == 'float32':
    forms['torch, plain'] = torch_forms.Fusion(
        arguments, num_heads=inputs.HEADS, gradient=GRADIENT.value
    )
  print(f'products of 4096: {timing.matmul_rate() / 1e9:.0f} GFLOP/s')
  what = 'forward and gradient' if GRADIENT.value else 'forward'
  timing.report(
      f'{what}, {BATCH.value} x {POSITIONS.value} positions,'
      f' {TOKENS.value} tokens, {DTYPE.value}',
      timing.compare(forms, arguments, rounds=ROUNDS.value),
  )


if __name__ == '__main__':
  configuring.run(main)
