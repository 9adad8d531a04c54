"""Bidirectional attention in one pass against the form that is written down."""

import functools

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import plain_bi_attention
import pytest
from parity import reference

from glip_jax.ops import bi_attention, token_lengths

B, N, T, D, E, WIDTH, HEADS = 2, 23, 6, 8, 12, 16, 4


def _inputs(seed=0, spread=1.0):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)

  def affine(inputs, outputs):
    return bi_attention.Affine(
        spread * draw(inputs, outputs) * inputs**-0.5, draw(outputs)
    )

  projections = bi_attention.Projections(
      image_query=affine(D, WIDTH),
      text_key=affine(E, WIDTH),
      image_value=affine(D, WIDTH),
      text_value=affine(E, WIDTH),
      image_out=affine(WIDTH, D),
      text_out=affine(WIDTH, E),
  )
  inside = jnp.asarray(rng.random((B, N)) < 0.7)
  mask = jnp.arange(T) < jnp.array([[4], [6]])
  return draw(B, N, D), draw(B, T, E), inside, mask, projections


def _plain(image, text, inside, mask, projections, **options):
  """The plain form; positions outside attend to all tokens evenly."""
  plain = functools.partial(
      plain_bi_attention.bi_attention, image, text, inside, mask, **options
  )
  heard, told = plain(projections)
  no_query = jax.tree.map(jnp.zeros_like, projections.image_query)
  even, _ = plain(projections._replace(image_query=no_query))
  return jnp.where(inside[..., None], heard, even), told


def _total(form, image, text, inside, mask, projections):
  """A number that every message takes part in, padding aside."""
  heard, told = form(image, text, inside, mask, projections, num_heads=HEADS)
  return jnp.sum(jnp.sin(heard)) + jnp.sum(jnp.sin(told) * mask[..., None])


@pytest.mark.parametrize('chunk', [1, 5, 8, 22, 23, 100])
@pytest.mark.parametrize('spread', [1.0, 8.0])
def test_messages_and_gradients_are_those_of_the_plain_form(chunk, spread):
  inputs = _inputs(spread=spread)
  # Far apart logits cost float32 its last digits in either form.
  with jax.enable_x64(True):
    inputs = jax.tree.map(
        lambda x: jnp.asarray(x, None if x.dtype == bool else 'f8'), inputs
    )
    fast = functools.partial(bi_attention.bi_attention, chunk=chunk)
    for mine, want in zip(
        _both(fast, inputs),
        _both(_plain, inputs),
        strict=True,
    ):
      np.testing.assert_allclose(mine, want, atol=1e-11 * np.abs(want).max())


def _both(form, inputs):
  """Messages and gradients of a form, flat."""
  grad = jax.grad(functools.partial(_total, form), argnums=(0, 1, 4))
  return jax.tree.leaves((form(*inputs, num_heads=HEADS), grad(*inputs)))


def test_tokens_that_are_padding_in_all_prompts_change_nothing():
  """Of 128 tokens many are left out, but none where a prompt is empty."""
  image, _, inside, _, projections = _inputs()
  rng = np.random.default_rng(1)
  text = jnp.asarray(rng.normal(size=(B, 128, E)), jnp.float32)
  fast = functools.partial(bi_attention.bi_attention, chunk=8)
  with jax.enable_x64(True):
    mine, want = (
        compiling.quick_jit(functools.partial(_both, form))
        for form in (fast, _plain)
    )
    for lengths in ((1, 3), (32, 33), (64, 2), (98, 97), (99, 5), (0, 9)):
      mask = np.arange(128) < np.array(lengths)[:, None]
      mask[:, 1] = False  # A hole is no end.
      inputs = reference.in_float64((image, text, inside, mask, projections))
      pairs = zip(mine(inputs), want(inputs), strict=True)
      for i, (one, other) in enumerate(pairs):
        one, other = (np.asarray(x) for x in (one, other))
        if i == 1:  # What tokens hear.
          one, other = one[mask], other[mask]
        bound = 1e-11 * np.abs(other).max(initial=0)
        np.testing.assert_allclose(one, other, atol=bound, err_msg=lengths)
      # Beyond the branch's tokens nothing is told: they are left out.
      longest = max(lengths) if min(lengths) else 128
      used = next(n for n in (32, 64, 98, 128) if n >= longest)
      told = np.asarray(mine(inputs)[1])
      assert not told[:, used:].any(), lengths
      assert told[:, :used].any(axis=-1).all(), lengths


@pytest.mark.parametrize('many', [1, 100])
def test_parts_of_a_batch_may_be_mapped_over_devices(monkeypatch, many):
  monkeypatch.setattr(token_lengths, '_MANY', many)
  *inputs, projections = _inputs()
  run = functools.partial(bi_attention.bi_attention, num_heads=HEADS, chunk=5)
  data = jax.P('data')
  mapped = jax.shard_map(
      run,
      mesh=jax.sharding.Mesh(jax.devices()[:1], ('data',)),
      in_specs=(*[data] * 4, jax.P()),
      out_specs=data,
  )
  for mine, want in zip(
      jax.jit(mapped)(*inputs, projections),
      run(*inputs, projections),
      strict=True,
  ):
    np.testing.assert_allclose(mine, want, atol=1e-5)


def test_in_float32_messages_are_those_of_the_plain_form():
  inputs = _inputs()
  for mine, want in zip(
      bi_attention.bi_attention(*inputs, num_heads=HEADS, chunk=8),
      _plain(*inputs, num_heads=HEADS),
      strict=True,
  ):
    np.testing.assert_allclose(mine, want, atol=1e-5 * np.abs(want).max())


def test_logits_far_apart_neither_overflow_nor_vanish():
  image, text, inside, mask, projections = _inputs()
  # Logits of up to 1e5, beyond the bound; the largest places come last.
  order = np.argsort(np.asarray(image[0, :, 0]))
  image = 300.0 * image[:, order]
  inputs = image, 300.0 * text, inside, mask, projections
  fast = functools.partial(bi_attention.bi_attention, chunk=4)
  for mine, want in zip(
      fast(*inputs, num_heads=HEADS),
      _plain(*inputs, num_heads=HEADS),
      strict=True,
  ):
    np.testing.assert_allclose(mine, want, rtol=1e-3, atol=1e-1)
  gradient = jax.grad(functools.partial(_total, fast))(*inputs)
  assert np.isfinite(gradient).all()


def test_what_stands_outside_changes_no_message_inside():
  image, text, inside, mask, projections = _inputs()
  run = functools.partial(bi_attention.bi_attention, num_heads=HEADS, chunk=5)
  heard, told = run(image, text, inside, mask, projections)
  strange = jnp.where(inside[..., None], image, 50.0)
  heard2, told2 = run(strange, text, inside, mask, projections)
  np.testing.assert_array_equal(told, told2)
  own = np.asarray(inside)
  np.testing.assert_array_equal(np.asarray(heard)[own], np.asarray(heard2)[own])
  tokens = jnp.where(mask[..., None], text, 50.0)
  heard3, told3 = run(image, tokens, inside, mask, projections)
  np.testing.assert_allclose(heard, heard3, rtol=1e-6)
  np.testing.assert_array_equal(
      np.asarray(told)[np.asarray(mask)], np.asarray(told3)[np.asarray(mask)]
  )


@pytest.mark.parametrize('chunk', [5, 100])
@pytest.mark.parametrize('places, tokens', [(0, 0), (0, 4), (23, 0), (3, 1)])
def test_images_and_prompts_of_padding_alone_stay_finite(chunk, places, tokens):
  image, text, _, _, projections = _inputs()
  inside = jnp.broadcast_to(jnp.arange(N) >= N - places, (B, N))
  mask = jnp.broadcast_to(jnp.arange(T) < tokens, (B, T))
  fast = functools.partial(bi_attention.bi_attention, chunk=chunk)
  value, gradients = jax.value_and_grad(
      functools.partial(_total, fast), argnums=(0, 1, 4)
  )(image, text, inside, mask, projections)
  assert np.isfinite(value)
  for leaf in jax.tree.leaves(gradients):
    assert np.isfinite(leaf).all()


def test_dropout_is_the_plain_forms_with_the_same_draw():
  inputs = _inputs()
  key, rate, chunk = jax.random.key(7), 0.3, 8
  mine = bi_attention.bi_attention(
      *inputs,
      num_heads=HEADS,
      dropout_rate=rate,
      dropout_key=key,
      chunk=chunk,
  )
  keep = bi_attention.dropout_keep

  def drop(weights, side):
    draws = [
        keep(key, i, side, (B, chunk, HEADS, T), rate)
        for i in range(-(-N // chunk))
    ]
    kept = jnp.concatenate(draws, axis=1)[:, :N].transpose(0, 2, 1, 3)
    return jnp.where(kept, weights / (1 - rate), 0)

  want = _plain(*inputs, num_heads=HEADS, drop=drop)
  for a, b in zip(mine, want, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_dropout_leaves_the_mean_and_needs_a_key():
  inputs = _inputs()
  run = functools.partial(
      bi_attention.bi_attention, *inputs, num_heads=HEADS, chunk=8
  )
  calm = run()
  drawn = jax.jit(jax.vmap(lambda key: run(dropout_rate=0.2, dropout_key=key)))(
      jax.random.split(jax.random.key(0), 2000)
  )
  for one, many in zip(calm, drawn, strict=True):
    error = np.asarray(many).std(axis=0) / 2000**0.5
    assert error.max() > 0
    assert (np.abs(many.mean(axis=0) - one) < 6 * error + 1e-6).all()
  for one, again in zip(calm, run(dropout_rate=0.2), strict=True):
    np.testing.assert_array_equal(one, again)


def test_half_precision_keeps_its_type_and_comes_near():
  image, text, inside, mask, projections = _inputs()
  want = bi_attention.bi_attention(
      image, text, inside, mask, projections, num_heads=HEADS
  )
  half = bi_attention.bi_attention(
      image.astype(jnp.bfloat16),
      text.astype(jnp.bfloat16),
      inside,
      mask,
      projections,
      num_heads=HEADS,
      chunk=8,
  )
  for mine, full in zip(half, want, strict=True):
    assert mine.dtype == jnp.bfloat16
    error = np.asarray(mine, np.float32) - full
    assert np.sqrt(np.mean(error**2)) < 0.02 * np.std(full)
