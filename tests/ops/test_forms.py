"""Every form gives what its plain counterpart does; a platform gets its own."""

import collections
import functools
import re

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax.models import bert, linear, swin
from glip_jax.ops import bi_attention, deform_conv, forms, nms


@pytest.fixture(autouse=True)
def _small_tables(monkeypatch):
  """As the maps here are small too."""
  monkeypatch.setattr(deform_conv, '_TABLE_ROWS', 40)


def _draw(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


def _weights(module, *arguments):
  shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments)
  return jax.tree.map(lambda x: 0.3 * _draw(*x.shape), shapes['params'])


def _deform():
  """Two maps, of which one is read twice, by two kernels."""
  sizes = ((6, 5), (3, 3))
  cells = [jnp.array([size] * 2) for size in sizes]
  plan = ((0, sizes[0], 0), (0, sizes[0], 1), (1, sizes[1], 1))

  def run(maps, sampling, kernels):
    readings = [
        deform_conv.Reading(level, *pair, 1, kernel)
        for (level, _, kernel), pair in zip(plan, sampling, strict=True)
    ]
    return deform_conv.pyramid_deform_conv(maps, cells, readings, kernels)

  sampling = [
      (1.5 * _draw(2, *size, 18, seed=i), _draw(2, *size, 9, seed=i))
      for i, (_, size, _) in enumerate(plan)
  ]
  maps = [_draw(2, *size, 3) for size in sizes]
  return run, (maps, sampling, _draw(2, 9, 3, 4))


def _fusion(num_tokens=128):
  """Of 128 tokens 42 are in use: there are branches."""
  affine = lambda i, o: bi_attention.Affine(_draw(i, o) / i, _draw(o, seed=1))
  projections = bi_attention.Projections(
      affine(8, 16), affine(6, 16), affine(8, 16), affine(6, 16),
      affine(16, 8), affine(16, 6),
  )  # fmt: skip
  used = jnp.arange(num_tokens) < num_tokens // 3
  mask = jnp.broadcast_to(used, (2, num_tokens))

  def run(image, text, projections):
    heard, told = bi_attention.bi_attention(
        image, text, jnp.ones(image.shape[:2], bool), mask, projections,
        num_heads=4, chunk=5,
    )  # fmt: skip
    return heard, jnp.where(mask[..., None], told, 0)

  return run, (_draw(2, 14, 8), _draw(2, num_tokens, 6), projections)


def _bert():
  layer = bert.BertLayer(num_heads=2, mlp_width=16)
  mask = jnp.broadcast_to(jnp.arange(128) < 40, (2, 128))
  x = _draw(2, 128, 8)

  def run(params, x):
    y = layer.apply({'params': params}, x, mask)
    return jnp.where(mask[..., None], y, 0)

  return run, (_weights(layer, x, mask), x)


def _dense():
  layer, x = linear.Dense(3), _draw(2, 4, 5)
  run = lambda params, x: layer.apply({'params': params}, x)
  return run, (_weights(layer, x), x)


def _swin():
  block = swin.SwinBlock(num_heads=2, window=3, shift=1)
  x, cells = _draw(2, 6, 7, 8), jnp.array([[6, 7], [4, 5]])
  run = lambda params, x: block.apply({'params': params}, x, cells)
  return run, (_weights(block, x, cells), x)


def _suppression():
  """Boxes that overlap; their gradient is that of the boxes that are kept."""
  corners = 30 * jnp.abs(_draw(40, 2))
  labels = jnp.arange(40) % 2

  def run(boxes):
    kept = nms.non_max_suppression(
        boxes, jnp.abs(boxes[:, 0]), labels, labels >= 0,
        threshold=0.3, max_outputs=12, block_size=8,
    )  # fmt: skip
    return jnp.where(kept[:, None] >= 0, boxes[kept], 0)

  return run, (jnp.concatenate([corners, corners + 25], axis=1),)


# What each form is part of: (function, arguments).
CASES = {
    'deform_blocks': _deform,
    'sums_by_product': _deform,
    'token_lengths': _fusion,
    'token_lengths, text': _bert,
    'deform_tables': _deform,
    'flat_dense': _dense,
    'fusion_chunks': functools.partial(_fusion, 6),
    'fusion_remat': functools.partial(_fusion, 6),
    'heads_first': _swin,
    'nms_blocks': _suppression,
}
_FORM = {case: case.split(',')[0] for case in CASES}


def _with_gradients(run):
  """(results, gradients of a sum over them)."""

  def total(*arguments):
    results = run(*arguments)
    return sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(results)), results

  def both(*arguments):
    every = tuple(range(len(arguments)))
    return jax.grad(total, argnums=every, has_aux=True)(*arguments)

  return both


@functools.cache
def _program(case, value, platform):
  """A program with a form, lowered for a platform."""
  run, arguments = CASES[case]()
  with forms.use(**{_FORM[case]: value}):
    traced = jax.jit(_with_gradients(run)).trace(*arguments)
    return traced.lower(lowering_platforms=(platform,)).as_text()


def _operations(program):
  """How often each operation stands in a program."""
  names = collections.Counter(re.findall(r'stablehlo\.(\w+)', program))
  # Of a platform's choice a case of one branch is left, and blank arrays in
  # place of what other branches would have kept for the gradient.
  for name in ('case', 'return', 'constant', 'broadcast_in_dim'):
    del names[name]
  return names


def test_every_form_has_a_case():
  assert set(_FORM.values()) == set(forms.NAMES)
  assert set(forms.CPU_ALONE) < set(forms.NAMES)


@pytest.mark.parametrize('case', CASES)
def test_a_form_changes_neither_values_nor_gradients(case):
  run, arguments = CASES[case]()
  found = {}
  for value in ('on', 'off'):
    with forms.use(**{_FORM[case]: value}):
      both = compiling.quick_jit(_with_gradients(run))
      found[value] = both(*arguments)
  leaves = [jax.tree.leaves(found[value]) for value in ('on', 'off')]
  assert all(jnp.abs(leaf).max() > 0 for leaf in leaves[0])
  for mine, want in zip(*leaves, strict=True):
    bound = 1e-5 * max(np.abs(want).max(), 1)
    np.testing.assert_allclose(mine, want, atol=bound)


@pytest.mark.parametrize('case', CASES)
def test_a_form_that_is_off_makes_another_program(case):
  assert _program(case, 'on', 'cpu') != _program(case, 'off', 'cpu')


@pytest.mark.parametrize('platform', ['cpu', 'cuda', 'tpu'])
@pytest.mark.parametrize(
    'case', [case for case, form in _FORM.items() if form in forms.CPU_ALONE]
)
def test_forms_for_cpu_alone_are_lowered_for_no_other(case, platform):
  own, other = ('on', 'off') if platform == 'cpu' else ('off', 'on')
  mine, same, different = (
      _operations(_program(case, value, platform))
      for value in ('auto', own, other)
  )
  assert mine == same != different


def test_choices_hold_inside_and_add_up():
  assert forms.is_on('flat_dense')
  with forms.use(flat_dense='off', token_lengths='on'):
    with forms.use(flat_dense='on') as inner:
      assert (inner.flat_dense, inner.token_lengths) == ('on', 'on')
    assert not forms.is_on('flat_dense')
    with pytest.raises(RuntimeError), forms.use(flat_dense='on'):
      raise RuntimeError
    assert not forms.is_on('flat_dense')
  assert forms.is_on('flat_dense')


def test_forms_and_values_that_there_are_not_are_refused():
  with pytest.raises(ValueError, match='token_length'):
    with forms.use(token_length='on'):
      pass
  with pytest.raises(ValueError, match='maybe'):
    with forms.use(flat_dense='maybe'):
      pass


def test_who_asks_for_a_form_must_know_whether_the_platform_decides():
  with pytest.raises(ValueError, match='token_lengths'):
    forms.is_on('token_lengths')
  with pytest.raises(ValueError, match='flat_dense'):
    forms.select('flat_dense', jnp.sin, jnp.cos, jnp.zeros(1))
