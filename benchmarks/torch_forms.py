"""The same operations in torch, written for the comparison.

They do what the official model does, in the form in which it does it. torch is
no dependency: where it is missing, the benchmarks go on without these rows.
"""

import importlib.util

import numpy as np


def available() -> bool:
  """Whether torch can be imported."""
  return importlib.util.find_spec('torch') is not None


class Fusion:
  """Bidirectional attention; call `run`."""

  def __init__(self, inputs, *, num_heads: int, gradient: bool):
    import torch

    image, text, inside, mask, projections = inputs
    self._torch, self._heads, self._gradient = torch, num_heads, gradient
    tensor = lambda x: torch.tensor(np.asarray(x), requires_grad=gradient)
    self._image, self._text = tensor(image), tensor(text)
    self._inside = torch.tensor(np.asarray(inside))
    self._mask = torch.tensor(np.asarray(mask))
    self._weights = {
        name: (tensor(affine.kernel), tensor(affine.bias))
        for name, affine in projections._asdict().items()
    }

  def run(self):
    """One forward, with gradients where they were asked for."""
    if not self._gradient:
      with self._torch.no_grad():
        return self._forward()
    total = sum(x.sin().sum() for x in self._forward())
    return total.backward()

  def _forward(self):
    project = (
        lambda x, name: x @ self._weights[name][0] + self._weights[name][1]
    )
    split = lambda x: x.unflatten(-1, (self._heads, -1)).transpose(1, 2)
    join = lambda x: x.transpose(1, 2).flatten(2)
    query = split(project(self._image, 'image_query'))
    key = split(project(self._text, 'text_key'))
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    logits = logits.clamp(-50_000, 50_000)
    outside = ~self._inside[:, None, :, None]
    padding = ~self._mask[:, None, None, :]
    to_tokens = logits.masked_fill(padding, -9e15).softmax(dim=3)
    to_places = logits.masked_fill(outside, -9e15).softmax(dim=2)
    heard = to_tokens @ split(project(self._text, 'text_value'))
    told = to_places.transpose(2, 3) @ split(
        project(self._image, 'image_value')
    )
    return project(join(heard), 'image_out'), project(join(told), 'text_out')


class DeformConv:
  """Modulated deformable convolutions by grid_sample; call `run`."""

  def __init__(self, inputs, plan, *, gradient: bool):
    import torch

    maps, sampling, kernels = inputs
    self._torch, self._plan, self._gradient = torch, plan, gradient
    tensor = lambda x: torch.tensor(
        np.ascontiguousarray(x), requires_grad=gradient
    )
    nchw = lambda x: np.asarray(x).transpose(0, 3, 1, 2)
    self._maps = [tensor(nchw(x)) for x in maps]
    self._sampling = [(tensor(o), tensor(m)) for o, m in sampling]
    self._kernels = tensor(kernels)

  def run(self):
    """One forward, with gradients where they were asked for."""
    if not self._gradient:
      with self._torch.no_grad():
        return self._forward()
    return sum(x.sin().sum() for x in self._forward()).backward()

  def _forward(self):
    return [
        self._convolve(self._maps[level], *pair, stride, self._kernels[kernel])
        for (level, stride, kernel), pair in zip(
            self._plan, self._sampling, strict=True
        )
    ]

  def _convolve(self, x, offsets, modulation, stride, kernel):
    torch = self._torch
    b, _, h, w = x.shape
    p, q = offsets.shape[1:3]
    offsets = offsets.reshape(b, p, q, 9, 2)
    tap = torch.arange(9)
    rows = torch.arange(p)[:, None, None] * stride - 1 + tap // 3
    columns = torch.arange(q)[:, None] * stride - 1 + tap % 3
    y, z = offsets[..., 0] + rows, offsets[..., 1] + columns
    # grid_sample's coordinates: -1 and 1 are the outer edges of the map.
    grid = torch.stack([(2 * z + 1) / w - 1, (2 * y + 1) / h - 1], dim=-1)
    sample = torch.nn.functional.grid_sample(
        x, grid.reshape(b, p, q * 9, 2), align_corners=False
    )
    sample = sample.reshape(b, -1, p, q, 9) * modulation[:, None]
    return torch.einsum('bcpqk,kce->bpqe', sample, kernel)
