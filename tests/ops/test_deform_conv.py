"""The deformable convolution against a loop, and its hand-written gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import plain_deform_conv
import pytest

from glip_jax.ops import deform_conv, deform_taps, extents


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


def _whole(size, rows):
  return jnp.broadcast_to(jnp.array(size), (rows, 2))


def _reread(values, size):
  memory = values.transpose(2, 0, 1).reshape(-1)
  count = values.shape[-1] * size[0] * size[1]
  return memory[:count].reshape(-1, *size).transpose(1, 2, 0)


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


@pytest.mark.parametrize('sizes', [(3, 3), (7, 40), (512, 2048)])
def test_blocks_on_cpu_and_segments_elsewhere_are_the_same(monkeypatch, sizes):
  monkeypatch.setattr(deform_taps, '_SMALLEST', sizes[0])
  monkeypatch.setattr(deform_taps, '_LARGEST', sizes[1])
  rng = np.random.default_rng(0)
  counts, rows, pitch = (11, 4, 7), 30, 6
  n = sum(counts)
  inputs = (
      jnp.asarray(rng.normal(size=(2, rows, 3)), jnp.float32),
      jnp.asarray(rng.integers(0, rows - pitch - 1, (9, 2, n)), jnp.int32),
      jnp.full((9, n), pitch, jnp.int32),
      jnp.asarray(rng.uniform(size=(9, 2, n, 4)), jnp.float32),
      jnp.asarray(rng.normal(size=(9, 3, 3, 4)), jnp.float32),
  )
  gradient = jnp.asarray(rng.normal(size=(2, n, 4)), jnp.float32)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  close(
      deform_taps._in_blocks(*inputs, counts=counts),
      deform_taps._at_once(*inputs, counts=counts),
  )
  for mine, want in zip(
      deform_taps._backward_in_blocks(gradient, *inputs, counts=counts),
      deform_taps._backward_at_once(gradient, *inputs, counts=counts),
      strict=True,
  ):
    close(mine, want)


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
      own = _whole(offsets.shape[1:3], len(x)), _whole(size, len(x))
      offsets = deform_conv.reread_flat(offsets, size, *own)
      modulation = deform_conv.reread_flat(modulation, size, *own)
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


@pytest.mark.parametrize('stride', [1, 2])
def test_a_padded_map_gives_what_the_map_alone_gives(stride):
  x, offsets, modulation, kernel = _inputs(stride=stride)
  (h, w), (p, q) = x.shape[1:3], offsets.shape[1:3]
  more = 4 // stride
  pad = lambda y, n, value: np.pad(
      y, ((0, 0), (0, n), (0, n), (0, 0)), constant_values=value
  )

  def total(x, offsets, modulation, cells):
    y = deform_conv.modulated_deform_conv(
        x, offsets, modulation, jnp.asarray(kernel), stride=stride, cells=cells
    )
    return jnp.sum(jnp.sin(y[:, :p, :q]))

  grad = jax.grad(total, argnums=(0, 1, 2))
  alone = grad(x, offsets, modulation, None)
  # What is outside is zero in the map, and arbitrary in the offsets.
  padded = grad(
      pad(x, 4, 0.0),
      pad(offsets, more, 0.7),
      pad(modulation, more, 0.5),
      _whole((h, w), len(x)),
  )
  assert np.abs(alone[1]).max() > 0
  for mine, want in zip(padded, alone, strict=True):
    want = np.asarray(want)
    mine = np.asarray(mine)[:, : want.shape[1], : want.shape[2]]
    np.testing.assert_allclose(mine, want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('table_rows', [1, 100, 10_000])
def test_a_pyramid_gives_what_its_convolutions_give_one_by_one(
    monkeypatch, table_rows
):
  # Every map a table of its own, some shared, all in one.
  monkeypatch.setattr(deform_conv, '_TABLE_ROWS', table_rows)
  rng = np.random.default_rng(0)
  sizes = [(8, 6), (4, 3), (2, 2)]
  own = [jnp.array([[8, 6], [6, 4]]), jnp.array([[4, 3], [3, 2]])]
  own.append(jnp.array([[2, 2], [2, 1]]))
  plan = [(0, 1, 0), (0, 2, 1), (1, 1, 0), (2, 1, 2), (1, 2, 1)]
  with jax.enable_x64(True):
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape))
    maps = [draw(2, *size, 4) for size in sizes]
    outputs = [[-(-x // s) for x in sizes[level]] for level, s, _ in plan]
    sampling = [(2 * draw(2, *o, 18), draw(2, *o, 9)) for o in outputs]
    kernels = draw(3, 9, 4, 5)

    def total(form, maps, sampling, kernels):
      maps = list(map(extents.zero_outside, maps, own))
      readings = [
          deform_conv.Reading(level, *pair, stride, kernel)
          for (level, stride, kernel), pair in zip(plan, sampling, strict=True)
      ]
      results = form(maps, own, readings, kernels)
      return sum(jnp.sum(jnp.sin(y)) for y in results), results

    run = lambda form: jax.tree.leaves(
        jax.grad(lambda *x: total(form, *x), argnums=(0, 1, 2), has_aux=True)(
            maps, sampling, kernels
        )
    )
    mine = run(deform_conv.pyramid_deform_conv)
    want = run(plain_deform_conv.pyramid_deform_conv)
    for a, b in zip(mine, want, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-11 * np.abs(b).max())


def test_flat_rereading_is_a_reshape_of_channels_first_memory():
  values = np.random.default_rng(0).normal(size=(2, 4, 6, 18))
  values = values.astype(np.float32)
  mine = deform_conv.reread_flat(
      jnp.asarray(values), (2, 3), _whole((4, 6), 2), _whole((2, 3), 2)
  )
  for b in range(2):
    np.testing.assert_array_equal(mine[b], _reread(values[b], (2, 3)))


def test_flat_rereading_knows_the_size_of_each_image():
  values = np.random.default_rng(0).normal(size=(3, 6, 8, 9))
  values = values.astype(np.float32)
  own = np.array([[4, 6], [6, 8], [3, 1]])
  target = -(-own // 2)
  cells = jnp.asarray(own), jnp.asarray(target)
  reread = lambda v: deform_conv.reread_flat(v, (3, 4), *cells)
  mine = reread(jnp.asarray(values))
  # The gradient of a sum counts how often each number was read.
  counts = jax.grad(lambda v: reread(v).sum())(jnp.asarray(values))
  for b in range(3):
    (h, w), (p, q) = own[b], target[b]
    want = _reread(values[b, :h, :w], (p, q))
    np.testing.assert_array_equal(mine[b, :p, :q], want)
    outside = np.ones((3, 4), bool)
    outside[:p, :q] = False
    np.testing.assert_array_equal(mine[b][outside], 0)
    read = np.arange(9 * h * w) < 9 * p * q
    read = read.reshape(9, h, w).transpose(1, 2, 0)
    np.testing.assert_array_equal(counts[b, :h, :w], read)
    assert counts[b].sum() == read.sum()


def test_offsets_of_another_size_are_refused():
  x, offsets, modulation, kernel = map(jnp.asarray, _inputs())
  with pytest.raises(ValueError, match=r'\(5, 6\).*stride 2'):
    deform_conv.modulated_deform_conv(x, offsets, modulation, kernel, stride=2)
