"""The deformable convolution against a loop, and its hand-written gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.ops import deform_conv


def _inputs(seed=0, stride=1, spread=2.0):
  rng = np.random.default_rng(seed)
  b, h, w, d, e = 2, 5, 6, 3, 4
  p, q = -(-h // stride), -(-w // stride)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  return (
      draw(b, h, w, d),
      spread * draw(b, p, q, 18),
      rng.uniform(size=(b, p, q, 9)).astype(np.float32),
      draw(9, d, e),
  )


def _pixel(image, y, x):
  h, w, d = image.shape
  inside = 0 <= y < h and 0 <= x < w
  return image[y, x] if inside else np.zeros(d)


def _naive(x, offsets, modulation, kernel, stride):
  """One output at a time, one tap at a time, in float64."""
  x, offsets = x.astype(np.float64), offsets.astype(np.float64)
  b, h, w, _ = x.shape
  p, q = offsets.shape[1:3]
  out = np.zeros((b, p, q, kernel.shape[-1]))
  for n, i, j, k in np.ndindex(b, p, q, 9):
    y = i * stride - 1 + k // 3 + offsets[n, i, j, 2 * k]
    z = j * stride - 1 + k % 3 + offsets[n, i, j, 2 * k + 1]
    if y <= -1 or y >= h or z <= -1 or z >= w:
      continue
    top, left = int(np.floor(y)), int(np.floor(z))
    value = sum(
        _pixel(x[n], top + a, left + c)
        * (y - top if a else 1 - y + top)
        * (z - left if c else 1 - z + left)
        for a in (0, 1)
        for c in (0, 1)
    )
    out[n, i, j] += (value * modulation[n, i, j, k]) @ kernel[k]
  return out


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('spread', [0.0, 2.0, 30.0])
def test_agrees_with_a_loop_over_taps(stride, spread):
  inputs = _inputs(stride=stride, spread=spread)
  out = deform_conv.modulated_deform_conv(
      *map(jnp.asarray, inputs), stride=stride
  )
  np.testing.assert_allclose(out, _naive(*inputs, stride), atol=2e-5)


@pytest.mark.parametrize('kind', ['s1', 's2', 's1_big_offset'])
def test_agrees_with_the_reference_forward_and_backward(golden, kind):
  arrays = np.load(golden / 'parts' / 'boxes_ops.npz')
  get = lambda name: arrays[f'dcn_{kind}_{name}']
  nhwc = lambda x: jnp.asarray(x.transpose(0, 2, 3, 1))
  weight, size = arrays['dcn_w'], get('out').shape[2:]
  kernel = jnp.asarray(
      weight.transpose(2, 3, 1, 0).reshape(9, weight.shape[1], -1)
  )
  stride = 2 if kind == 's2' else 1

  def convolve(x, offsets, modulation, kernel, bias):
    if offsets.shape[1:3] != size:
      offsets = deform_conv.reread_flat(offsets, size)
      modulation = deform_conv.reread_flat(modulation, size)
    y = deform_conv.modulated_deform_conv(
        x, offsets, modulation, kernel, stride=stride
    )
    return y + bias

  inputs = (
      nhwc(arrays['dcn_x']),
      nhwc(get('offset')),
      nhwc(get('mask')),
      kernel,
      jnp.asarray(arrays['dcn_b']),
  )
  out, pull = jax.vjp(convolve, *inputs)
  np.testing.assert_allclose(out, nhwc(get('out')), atol=2e-5)
  gradients = pull(nhwc(get('gout')))
  for name, mine in zip(('x', 'offset', 'mask'), gradients[:3], strict=True):
    want = nhwc(get(f'g{name}'))
    np.testing.assert_allclose(mine, want, atol=1e-4 * np.abs(want).max())
  mine = gradients[3].reshape(3, 3, *kernel.shape[1:]).transpose(3, 2, 0, 1)
  np.testing.assert_allclose(
      mine, get('gw'), atol=1e-4 * np.abs(get('gw')).max()
  )
  np.testing.assert_allclose(gradients[4], get('gb'), rtol=1e-4, atol=1e-4)


def test_gradient_agrees_with_finite_differences():
  x, offsets, modulation, kernel = _inputs(seed=1)
  # Bilinear sampling has kinks at whole pixels: stay clear of them.
  offsets = np.floor(offsets) + 0.3 + 0.4 * (offsets - np.floor(offsets))
  inputs = tuple(map(jnp.asarray, (x, offsets, modulation, kernel)))
  mixed = jnp.asarray(np.random.default_rng(2).normal(size=(2, 5, 6, 4)))

  def total(*args):
    return jnp.sum(deform_conv.modulated_deform_conv(*args) * mixed)

  gradients = jax.grad(total, argnums=(0, 1, 2, 3))(*inputs)
  rng = np.random.default_rng(3)
  for i, gradient in enumerate(gradients):
    direction = jnp.asarray(rng.normal(size=gradient.shape), jnp.float32)
    step = 1e-3

    def moved(sign, i=i, direction=direction, step=step):
      args = list(inputs)
      args[i] = args[i] + sign * step * direction
      return total(*args)

    slope = (moved(1) - moved(-1)) / (2 * step)
    np.testing.assert_allclose(
        jnp.vdot(gradient, direction), slope, rtol=0.02, atol=0.02
    )


def test_points_outside_have_no_gradient():
  x, _, modulation, kernel = map(jnp.asarray, _inputs())
  far = jnp.full((2, 5, 6, 18), 50.0)
  total = lambda *a: jnp.sum(deform_conv.modulated_deform_conv(*a))
  gradients = jax.grad(total, argnums=(0, 1, 2, 3))(x, far, modulation, kernel)
  for gradient in gradients:
    np.testing.assert_array_equal(gradient, 0)


def test_flat_rereading_is_a_reshape_of_channels_first_memory():
  values = np.random.default_rng(0).normal(size=(2, 4, 6, 18))
  values = values.astype(np.float32)
  mine = deform_conv.reread_flat(jnp.asarray(values), (2, 3))
  for b in range(2):
    memory = values[b].transpose(2, 0, 1).reshape(-1)
    want = memory[: 18 * 2 * 3].reshape(18, 2, 3).transpose(1, 2, 0)
    np.testing.assert_array_equal(mine[b], want)


def test_offsets_of_another_size_are_refused():
  x, offsets, modulation, kernel = map(jnp.asarray, _inputs())
  with pytest.raises(ValueError, match=r'\(5, 6\).*stride 2'):
    deform_conv.modulated_deform_conv(x, offsets, modulation, kernel, stride=2)
