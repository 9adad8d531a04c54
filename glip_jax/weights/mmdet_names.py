"""mmdetection's names and layouts of what its detectors share: Swin.

Its patch merging reads the four neighbours channel by channel, as torch's
unfold lays them out.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping

import numpy as np

from glip_jax.weights import rules

# Parts of the authors' names -> mmdetection's; all that are found are put in
# place.
_SWIN = {
    r'^backbone\.layers\.': 'backbone.stages.',
    r'^backbone\.patch_embed\.proj\.': 'backbone.patch_embed.projection.',
    r'(?<=\})\.mlp\.fc1\.': '.ffn.layers.0.0.',
    r'(?<=\})\.mlp\.fc2\.': '.ffn.layers.1.',
    r'(?<=\})\.attn\.': '.attn.w_msa.',
}
_MERGING = re.compile(r'backbone\.stages\.\d+\.downsample\.')
# Of the 2x2 neighbours, down then across there, across then down here.
_NEIGHBOURS = [0, 2, 1, 3]

Names = Mapping[str, str | Callable[[re.Match[str]], str]]


def renamed(rule: rules.Rule, names: Names) -> rules.Rule:
  """The same rule by mmdetection's name, from its layout.

  Args:
    rule: its source is of another naming scheme.
    names: patterns -> what stands for them there; all that are found are put in
      place, in their order. A Swin must come out under `backbone.`, by its
      authors' names.
  """
  source = rule.source
  for pattern, name in {**names, **_SWIN}.items():
    source = re.sub(pattern, name, source)
  if not _MERGING.match(source):
    return dataclasses.replace(rule, source=source)
  return dataclasses.replace(
      rule,
      source=source,
      transform=lambda x: rule.transform(_by_neighbour(x)),
      inverse=lambda x: _by_channel(rule.inverse(x)),
  )


def _by_neighbour(x: np.ndarray) -> np.ndarray:
  """The last axis from channel by channel to neighbour by neighbour."""
  parts = x.reshape(*x.shape[:-1], -1, 4)[..., _NEIGHBOURS]
  return np.swapaxes(parts, -1, -2).reshape(x.shape)


def _by_channel(x: np.ndarray) -> np.ndarray:
  """`_by_neighbour` undone."""
  parts = np.swapaxes(x.reshape(*x.shape[:-1], 4, -1), -1, -2)
  return parts[..., _NEIGHBOURS].reshape(x.shape)
