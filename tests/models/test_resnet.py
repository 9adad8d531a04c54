"""ResNet against torchvision's, alone and in a canvas."""

import compiling
import jax
import jax.numpy as jnp
import named_weights
import numpy as np
import pytest

from glip_jax import errors, fields
from glip_jax.detectors import parts
from glip_jax.models import resnet
from glip_jax.training import optimizer
from glip_jax.weights import encoder_file, rules

CANVAS = (96, 128)
SMALL = resnet.ResNet(depths=(1, 2), width=4)


@pytest.fixture(scope='module')
def stored(golden):
  return np.load(golden / 'resnet' / 'resnet50.npz')


@pytest.fixture(scope='module')
def params(golden):
  """resnet50's parameters, from its names in torchvision."""
  state = named_weights.official_state(golden / 'resnet' / 'resnet50.json')
  shapes = _shapes(resnet.ResNet(), CANVAS)
  encoder = encoder_file.read_encoder(state, {'backbone': shapes})
  flat = {p.removeprefix('backbone/'): x for p, x in encoder.params.items()}
  paths = rules.flatten(shapes)
  return jax.tree.unflatten(
      jax.tree.structure(shapes), [flat[path] for path in paths]
  )


@pytest.fixture(scope='module')
def small():
  """Random parameters of `SMALL`, variances above zero."""
  rng = np.random.default_rng(0)

  def draw(x):
    if x.ndim == 1:
      return jnp.asarray(0.5 + 0.3 * rng.random(x.shape), jnp.float32)
    spread = np.sqrt(2 / np.prod(x.shape[:3]))
    return jnp.asarray(spread * rng.normal(size=x.shape), jnp.float32)

  return jax.tree.map(draw, _shapes(SMALL, (32, 32)))


def _shapes(model, size):
  image = jnp.zeros((1, *size, 3))
  extent = jnp.array([size])
  return jax.eval_shape(model.init, jax.random.key(0), image, extent)['params']


def _noise(h, w):
  return jax.random.normal(jax.random.key(1), (1, h, w, 3))


def _in_canvas(image, size, fill):
  """float32[1 h w 3] with `fill` around the image."""
  canvas = np.full((1, *size, 3), fill, np.float32)
  canvas[0, : image.shape[0], : image.shape[1]] = image
  return canvas


def test_maps_are_those_of_torchvision_whatever_is_around_the_image(
    stored, params
):
  images = [stored['image0'], stored['image1']]
  batch = np.concatenate([_in_canvas(x, CANVAS, 9) for x in images])
  extent = np.array([x.shape[:2] for x in images], np.int32)
  run = compiling.full_jit(
      lambda *x: resnet.ResNet().apply({'params': x[0]}, *x[1:])
  )
  maps = run(params, batch, extent)
  for i in range(2):
    for j, feature in enumerate(maps):
      want = stored[f'map{i}_{j}']
      h, w = -(-extent[i] // 2 ** (j + 2))
      assert want.shape[:2] == (h, w)
      own = np.asarray(feature[i, :h, :w, ::32])
      bound = 1e-5 * np.abs(want).max()
      np.testing.assert_allclose(own, want, rtol=0, atol=bound)


def test_a_canvas_changes_neither_maps_nor_gradients(small):
  image = _noise(37, 45)[0]
  extent = jnp.array([[37, 45]])

  def total(params, image):
    maps = SMALL.apply({'params': params}, image, extent)
    own = [
        x[:, : -(-37 // s), : -(-45 // s)]
        for s, x in zip((4, 8), maps, strict=True)
    ]
    return sum(jnp.sum(jnp.sin(x)) for x in own), own

  run = compiling.quick_jit(jax.grad(total, (0, 1), has_aux=True))
  (alone_grad, alone_image), alone = run(small, _in_canvas(image, (37, 45), 0))
  (grad, image_grad), maps = run(small, _in_canvas(image, (64, 64), 9))
  for mine, want in zip(
      jax.tree.leaves((grad, maps)),
      jax.tree.leaves((alone_grad, alone)),
      strict=True,
  ):
    bound = 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(mine, want, rtol=0, atol=bound)
  assert not image_grad[:, 37:].any() and not image_grad[:, :, 45:].any()
  np.testing.assert_allclose(
      image_grad[:, :37, :45],
      alone_image,
      rtol=0,
      atol=1e-5 * np.abs(alone_image).max(),
  )


def test_frozen_norms_get_no_gradient_and_all_else_does(small):
  image = _noise(32, 32)
  extent = jnp.array([[32, 32]])
  total = lambda params: jnp.sum(
      jnp.sin(SMALL.apply({'params': params}, image, extent)[-1])
  )
  gradients = rules.flatten(compiling.quick_jit(jax.grad(total))(small))
  for path, gradient in gradients.items():
    assert gradient.any() != ('frozen_norm' in path), path


def test_frozen_keeps_weight_decay_off_the_norms(small):
  settings = {'frozen': ('frozen_norm',), 'weight_decay': 0.1}
  made = optimizer.make_optimizer(settings, small, 10)
  nothing = jax.tree.map(jnp.zeros_like, small)
  # The rate warms up from zero.
  state = made.transform.init(small)
  for _ in range(2):
    updates, state = made.transform.update(nothing, state, small)
  for path, update in rules.flatten(updates).items():
    assert update.any() != ('frozen_norm' in path), path


def test_half_precision_is_close_and_says_so_in_its_type(small):
  image, extent = _noise(32, 32), jnp.array([[32, 32]])
  run = lambda model: compiling.quick_jit(
      lambda: model.apply({'params': small}, image, extent)
  )()
  want, half = run(SMALL), run(SMALL.clone(dtype=jnp.bfloat16))
  for mine, other in zip(half, want, strict=True):
    assert mine.dtype == jnp.bfloat16
    bound = 0.03 * np.abs(other).max()
    np.testing.assert_allclose(np.float32(mine), other, rtol=0, atol=bound)


def test_a_config_says_how_many_stages_there_are():
  config = fields.from_dict(parts.ResNet, {'depths': (1, 1, 1), 'width': 8})
  model = config.build(jnp.bfloat16)
  assert model.dtype == jnp.bfloat16
  out = jax.eval_shape(
      lambda: model.init_with_output(
          jax.random.key(0), jnp.zeros((1, 40, 64, 3)), jnp.array([[40, 64]])
      )[0]
  )
  assert [x.shape[1:] for x in out] == [(10, 16, 32), (5, 8, 64), (3, 4, 128)]
  for depths in ((), (1, 1, 1, 1, 1)):
    with pytest.raises(errors.UserError, match=r'depths=.* 1 to 4'):
      fields.from_dict(parts.ResNet, {'depths': depths}, 'model.backbone')
