"""Rules of whole layers: torch's names and layouts to those of Linen.

Keys come without the last full stop; a target may end in `[n]`, a place in a
stack: 'a/b[3]' has its kernel at 'a/b/kernel[3]'.
"""

from collections.abc import Callable

import numpy as np

from glip_jax.weights import rules

Rule = rules.Rule


def linear(key: str, target: str, *, bias: bool = True) -> list[Rule]:
  """A fully connected layer."""
  return _layer(key, target, np.transpose, np.transpose, bias=bias)


def conv(key: str, target: str, *, bias: bool = True) -> list[Rule]:
  """A two-dimensional convolution."""
  return _layer(
      key,
      target,
      lambda x: x.transpose(2, 3, 1, 0),
      lambda x: x.transpose(3, 2, 0, 1),
      bias=bias,
  )


def pointwise(key: str, target: str) -> list[Rule]:
  """A 1x1 convolution that is a Dense here."""
  return _layer(
      key, target, lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None]
  )


def norm(key: str, target: str) -> list[Rule]:
  """A norm with scale and bias."""
  return [
      Rule(key + '.weight', _within(target, 'scale')),
      Rule(key + '.bias', _within(target, 'bias')),
  ]


def batch_norm(key: str, target: str) -> list[Rule]:
  """A norm with scale and bias, and the statistics that it goes by."""
  return [
      *norm(key, target),
      Rule(key + '.running_mean', _within(target, 'mean')),
      Rule(key + '.running_var', _within(target, 'variance')),
      # How many batches they come from matters to nobody here.
      Rule(key + '.num_batches_tracked', None),
  ]


def bert_layer(key: str, target: str) -> list[Rule]:
  """A post-norm layer of BERT."""
  dense = {
      '.attention.self.query': 'query',
      '.attention.self.key': 'key',
      '.attention.self.value': 'value',
      '.attention.output.dense': 'attention_out',
      '.intermediate.dense': 'mlp_in',
      '.output.dense': 'mlp_out',
  }
  norms = {
      '.attention.output.LayerNorm': 'attention_norm',
      '.output.LayerNorm': 'mlp_norm',
  }
  table = []
  for end, name in dense.items():
    table += linear(key + end, _within(target, name))
  for end, name in norms.items():
    table += norm(key + end, _within(target, name))
  return table


def _layer(
    key: str,
    target: str,
    transform: Callable[[np.ndarray], np.ndarray],
    inverse: Callable[[np.ndarray], np.ndarray],
    *,
    bias: bool = True,
) -> list[Rule]:
  """A weight that changes its layout, and its bias."""
  weight = _within(target, 'kernel')
  table = [Rule(key + '.weight', weight, transform, inverse)]
  return table + [Rule(key + '.bias', _within(target, 'bias'))] * bias


def _within(target: str, name: str) -> str:
  """'a/b[3]' + 'kernel' -> 'a/b/kernel[3]'."""
  path, bracket, place = target.partition('[')
  return f'{path}/{name}{bracket}{place}'
