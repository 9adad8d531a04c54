"""The programs whose gradients are compared with the reference's.

In float32 it is the one that trains. In float64 it is taken in two halves, at
the pyramid that the image encoder gives the rest, and the encoder's for one
image at a time, which do not meet there: GLIP-L's whole takes 24 GB.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from parity import reference

# Parameters of the image encoder, which without fusion holds the tower too.
_ENCODER = {True: ('backbone', 'neck'), False: ('backbone', 'neck', 'tower')}


def gradients(
    name: str, params: Any, *, double: bool = False
) -> tuple[tuple[Any, Any], Any]:
  """((loss, parts), gradients) on the stored training batch; nothing random.

  Args:
    name: of the model.
    params: parameters; with `double`, jax's own arrays are given up.
    double: True computes in float64.
  """
  image, batch = reference.image(name), reference.training_batch(name)
  if not double:
    with jax.default_matmul_precision('highest'):
      return _whole(name)(params, image, batch)
  with jax.enable_x64(True):
    inputs = jax.tree.map(
        jnp.asarray, reference.in_float64((params, image, batch))
    )
    return _in_halves(name, *inputs)


def forget() -> None:
  """Drops what is compiled: memory."""
  for cached in (_whole, _encode, _encode_backwards, _rest):
    cached.cache_clear()


def _in_halves(name: str, params, image, batch):
  """The gradients; those of the second half first."""
  keys = _ENCODER[reference.stored(name).fused]
  encoder = {key: params[key] for key in keys}
  rest = {key: x for key, x in params.items() if key not in keys}
  levels = _encode(name)(encoder, image, batch.extent)
  total, (grads, levels) = _rest(name)(rest, levels, batch)
  for i in range(len(image)):
    own = jax.tree.map(
        lambda x, i=i: x[i : i + 1], (image, batch.extent, levels)
    )
    more = _encode_backwards(name)(encoder, *own)
    summed = jax.tree.map(jnp.add, summed, more) if i else more
  return total, grads | summed


@functools.cache
def _whole(name: str):
  """Compiled: params, image, batch -> ((loss, parts), gradients)."""
  recipe = reference.model(name)[0]

  def loss(params, image, batch):
    outputs = reference.apply(recipe.model, params, image, batch)
    return recipe.loss(outputs, batch)

  return jax.jit(
      jax.value_and_grad(loss, has_aux=True),
      compiler_options=reference.OPTIONS,
  )


def _encoder(name: str):
  """params of the image encoder, image, extent -> pyramid."""
  model = reference.precise(name).model

  def encode(params, image, extent):
    return model.apply({'params': params}, image, extent, method='encode_image')

  return encode


@functools.cache
def _encode(name: str):
  return jax.jit(_encoder(name))


@functools.cache
def _encode_backwards(name: str):
  """Compiled: params, image, extent, gradients of the pyramid -> of params."""
  encode = _encoder(name)

  def backwards(params, image, extent, cotangents):
    _, pull = jax.vjp(lambda p: encode(p, image, extent), params)
    return pull(cotangents)[0]

  return jax.jit(backwards)


@functools.cache
def _rest(name: str):
  """Compiled: rest, pyramid, batch -> ((loss, parts), gradients of both)."""
  recipe = reference.precise(name)

  def loss(rest, levels, batch):
    def given(call, args, kwargs, context):
      if context.method_name == 'encode_image':
        return levels
      return call(*args, **kwargs)

    with nn.intercept_methods(given):
      outputs = reference.apply(recipe.model, rest, None, batch)
    return recipe.loss(outputs, batch)

  # The gradients take the place of the parameters, which are large.
  return jax.jit(
      jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), donate_argnums=0
  )
