"""Random images alone and among others, each in a bucket of its own.

Compared are logits in float32; and in float64 sums of losses and their
gradients, for the slope of bilinear sampling jumps where a point lies on a
pixel, and in float32 one of thousands of points often lies as near to one as
rounding reaches.
"""

import dataclasses

import abstract_models
import hypothesis
import jax
import numpy as np
from hypothesis import strategies as st

from glip_jax import types
from glip_jax.detectors.glip import objective as dense
from parity import reference

# (height, width) of the canvases; batches of one are given more tokens too.
BUCKETS = ((96, 160), (160, 96), (128, 128), (192, 224))
TOKENS = {1: 64, 3: 32}
LOGITS_BOUND, SUMS_BOUND, GRADIENT_BOUND = 2e-4, 1e-9, 1e-9


@dataclasses.dataclass(frozen=True)
class NoiseImage:
  """An image of noise with boxes and a prompt, all drawn from its seed."""

  height: int
  width: int
  seed: int


@dataclasses.dataclass(frozen=True)
class Draw:
  """An image alone in one bucket, and at a place among others in another."""

  alone_in: tuple[int, int]
  among_in: tuple[int, int]
  image: NoiseImage
  others: tuple[NoiseImage, ...]
  place: int


@st.composite
def draws(draw, alone=BUCKETS, among=BUCKETS) -> Draw:
  """Draws that fit: every image in the buckets that it is put in."""
  alone_in = draw(st.sampled_from(alone))
  among_in = draw(st.sampled_from(among))
  seeds = st.integers(0, 2**31 - 1)

  def image(*canvases):
    sides = [min(side) for side in zip(*canvases, strict=True)]
    height, width = (draw(st.integers(1, side)) for side in sides)
    return NoiseImage(height, width, draw(seeds))

  return Draw(
      alone_in,
      among_in,
      image(alone_in, among_in),
      tuple(image(among_in) for _ in range(2)),
      draw(st.integers(0, 2)),
  )


def element(
    noise: NoiseImage, bucket: tuple[int, int], num_tokens: int, vocabulary: int
) -> types.Batch:
  """An image in a canvas, without a batch axis."""
  rng = np.random.default_rng(noise.seed)
  size = np.array([noise.height, noise.width], np.int32)
  image = np.zeros((*bucket, 3), np.uint8)
  image[: size[0], : size[1]] = rng.integers(0, 256, (*size, 3), np.uint8)
  length, count = rng.integers(3, 33), rng.integers(0, 5)
  ids = np.zeros(num_tokens, np.int32)
  ids[:32] = rng.integers(1, vocabulary, 32)
  corners = rng.uniform(0, size[[1, 0]], (4, 2, 2))
  tokens = np.zeros((4, num_tokens), bool)
  tokens[:, :32] = rng.random((4, 32)) < 0.2
  mask = np.arange(num_tokens) < length
  return types.Batch(
      image=image,
      size=size,
      extent=-(-size // 32) * 32,
      scale=np.ones(2, np.float32),
      id=np.int32(0),
      prompt=types.Prompt(ids, mask, tokens & mask),
      targets=types.Targets(
          boxes=np.concatenate(
              [corners.min(axis=1), corners.max(axis=1)], axis=1
          ).astype(np.float32),
          phrase=np.zeros(4, np.int32),
          tokens=tokens & mask,
          valid=np.arange(4) < count,
          crowd=np.zeros(4, bool),
      ),
  )


class Comparison:
  """Computes an image both ways; the worst errors so far are kept.

  Args:
    model: a variant's name, or a config's `model`.
    params: its parameters.
    jit: what compiles.

  Attributes:
    vocabulary: number of token ids.
    worst: largest errors of 'logits' (absolute), 'sums' (relative) and
      'gradients' (relative to the gradient of the same parameter, or to a
      thousandth of the whole gradient where that is larger: the gradient of a
      key's bias is truly zero).
  """

  def __init__(self, model, params, jit=jax.jit):
    recipe = abstract_models.build(model)
    precise = abstract_models.build(model, {'dtype': 'float64'})
    embedding = params['language']['words']['embedding']
    self.vocabulary = embedding.shape[0]
    self.worst = {'logits': 0.0, 'sums': 0.0, 'gradients': 0.0}
    self._params = params
    self._precise_params = reference.in_float64(params)

    def forward(params, batch):
      outputs = recipe.forward(params, batch)
      return outputs.logits, outputs.valid

    def loss(params, batch, weight):
      sums = dense.loss_sums(precise.forward(params, batch), batch)
      total = sums.token + 2 * sums.box + sums.centerness
      return total @ weight, sums

    self._forward = jit(forward)
    self._gradient = jit(jax.grad(loss, has_aux=True))

  def run(self, draw: Draw) -> dict[str, float]:
    """Errors of one draw."""
    alone = self._compute((draw.image,), 0, draw.alone_in)
    images = list(draw.others)
    images.insert(draw.place, draw.image)
    among = self._compute(images, draw.place, draw.among_in)
    errors = {
        'logits': np.abs(alone[0] - among[0]).max(),
        'sums': max(
            abs(a - b) / max(abs(a), 1.0)
            for a, b in zip(alone[1], among[1], strict=True)
        ),
        'gradients': _gradient_error(alone[2], among[2]),
    }
    for key, error in errors.items():
      self.worst[key] = max(self.worst[key], float(error))
    return errors

  def _compute(self, images, place, bucket):
    """(own logits, own sums, own gradients) of the image at a place."""
    batch = jax.tree.map(
        lambda *x: np.stack(x),
        *(
            element(x, bucket, TOKENS[len(images)], self.vocabulary)
            for x in images
        ),
    )
    with jax.default_matmul_precision('highest'):
      logits, valid = self._forward(self._params, batch)
    own = np.asarray(logits[place])[np.asarray(valid[place])]
    length = batch.prompt.mask[place].sum()
    with jax.enable_x64(True):
      gradients, sums = self._gradient(
          self._precise_params,
          reference.in_float64(batch),
          np.eye(len(images))[place],
      )
    sums = [float(x[place]) for x in sums]
    return own[:, :length], sums, jax.tree.map(np.asarray, gradients)


def _gradient_error(one, other) -> float:
  norm = lambda x: float(np.linalg.norm(np.asarray(x, np.float64)))
  leaves = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
  whole = norm([norm(x) for x, _ in leaves])
  return max(norm(x - y) / max(norm(x), 1e-3 * whole) for x, y in leaves)


def check(comparison: Comparison, draw: Draw) -> None:
  """Asserts that a draw's two answers are equal."""
  errors = comparison.run(draw)
  assert errors['logits'] <= LOGITS_BOUND, errors
  assert errors['sums'] <= SUMS_BOUND, errors
  assert errors['gradients'] <= GRADIENT_BOUND, errors


def run_draws(comparison: Comparison, count: int, **buckets) -> None:
  """Checks that many random draws, the same ones at every call."""

  @hypothesis.settings(
      max_examples=count,
      derandomize=True,
      deadline=None,
      database=None,
      suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(draws(**buckets))
  def test(draw):
    check(comparison, draw)

  test()
