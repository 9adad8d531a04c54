"""The detector on the host: encoded once, grounded often, the same answers."""

import math

import abstract_models
import jax
import jax.extend.core
import numpy as np
import pytest
import tiny_config

from glip_jax import serving, text_store, types
from glip_jax.detectors import recipe as recipes
from glip_jax.errors import UserError
from glip_jax.training import sharding

NUM_TOKENS = 12


@pytest.fixture(
    scope='module',
    params=[True, pytest.param(False, marks=pytest.mark.slow)],
    ids=['fused', 'late'],
)
def detector(request):
  """Of a tiny model with random weights, with fusion and without."""
  model = tiny_config.get_config().model
  model.head.fusion.on = request.param
  recipe = recipes.build(model)
  return serving.Detector(
      recipe,
      sharding.make_mesh({'data': 1}, jax.devices()[:1]),
      abstract_models.random_params(recipe),
  )


def _prompt(seed, rows=1):
  """A prompt of two phrases, the same in every row."""
  rng = np.random.default_rng(seed)
  ids = rng.integers(5, 100, (1, NUM_TOKENS)).astype(np.int32)
  spans = np.zeros((1, 2, NUM_TOKENS), bool)
  spans[:, 0, 1:3] = spans[:, 1, 4:7] = True
  prompt = types.Prompt(ids, np.arange(NUM_TOKENS)[None] < 9, spans)
  return jax.tree.map(lambda x: np.repeat(x, rows, axis=0), prompt)


def _batch(prompt):
  rows = len(prompt.ids)
  rng = np.random.default_rng(9)
  batch = abstract_models.blank_batch(num_tokens=NUM_TOKENS, rows=rows)
  return batch.replace(
      image=rng.integers(0, 256, batch.image.shape, np.uint8), prompt=prompt
  )


def _close(found, want):
  valid = np.asarray(want.valid)
  np.testing.assert_array_equal(found.valid, valid)
  np.testing.assert_array_equal(found.labels, want.labels)
  np.testing.assert_allclose(found.scores, want.scores, atol=1e-5)
  np.testing.assert_allclose(found.boxes, want.boxes, atol=1e-2)
  assert valid.any()


def test_an_image_encoded_once_is_grounded_in_three_prompts(detector):
  batch = _batch(_prompt(0, rows=2))
  features = detector.encode_image(batch)
  scores = []
  for seed in range(3):
    found = detector.ground(features, batch, _prompt(seed))
    whole = detector.detect(batch.replace(prompt=_prompt(seed, rows=2)))
    _close(found, whole)
    scores.append(np.asarray(found.scores))
  assert np.abs(scores[0] - scores[1]).max() > 1e-3


def test_a_prompt_that_all_rows_share_is_encoded_once(detector):
  batch = _batch(_prompt(1, rows=2))
  fresh = detector.with_params(detector.params)
  _close(fresh.detect(batch, same_prompt=True), fresh.detect(batch))
  (text,) = fresh._texts.values()
  fresh.detect(batch, same_prompt=True)
  assert list(fresh._texts.values()) == [text]


def test_a_prompt_that_another_process_encoded_is_not_encoded(
    detector, tmp_path, monkeypatch
):
  batch, answers = _batch(_prompt(1, rows=2)), []
  for _ in range(2):
    fresh = detector.with_params(detector.params)
    fresh.keep_texts(text_store.TextStore(tmp_path, 'key'))
    answers.append(fresh.detect(batch, same_prompt=True))
    monkeypatch.setattr(detector._programs, 'encode_text', None)
  _close(*answers)
  assert len(list(tmp_path.iterdir())) == 1


def test_thresholds_are_given_at_each_call_without_compiling_again(detector):
  batch = _batch(_prompt(2, rows=2))
  everything = detector.detect(batch, same_prompt=True)
  programs = detector._programs.detect_text._cache_size()
  lowest = float(np.median(np.asarray(everything.scores)))
  found = detector.detect(batch, same_prompt=True, score_threshold=1.0)
  assert not np.asarray(found.valid).any()
  assert detector._programs.detect_text._cache_size() == programs
  # What `lowest` keeps holds every detection of that score.
  options = detector.recipe.lowest(lowest)
  found = detector.detect(batch, same_prompt=True, **options)
  for after, before in zip(found.scores, everything.scores, strict=True):
    after, before = np.asarray(after), np.asarray(before)
    np.testing.assert_array_equal(
        after[after >= lowest], before[before >= lowest]
    )


def test_an_unknown_threshold_is_refused(detector):
  with pytest.raises(TypeError, match=r"\['score'\] are no thresholds"):
    detector.detect(_batch(_prompt(0)), score=0.5)


@pytest.mark.parametrize(
    'change, said',
    [
        (lambda x: x / np.float32(255), r'float32 of shape \[1, 64, 64, 3\]'),
        (lambda x: x.astype(np.int32), r'int32 of shape'),
        (lambda x: x[0], r'uint8 of shape \[64, 64, 3\]'),
        (lambda x: x[..., :1], r'uint8 of shape \[1, 64, 64, 1\]'),
        (lambda x: x.tolist(), r'list of shape'),
        (lambda x: None, r'NoneType of shape \[\]'),
    ],
)
def test_images_that_are_not_uint8_rgb_are_refused(detector, change, said):
  batch = _batch(_prompt(0))
  batch = batch.replace(image=change(batch.image))
  for door in (detector.detect, detector.encode_image):
    with pytest.raises(UserError, match=f'batch.image is {said}.* give uint8'):
      door(batch)


@pytest.mark.slow
@pytest.mark.parametrize('name, most', [('T', 0.85), ('A', 0.45)])
def test_three_prompts_cost_fewer_operations_than_three_passes(name, most):
  """At 800 x 1344 with 256 tokens; by shapes alone, nothing is computed."""
  recipe, params = abstract_models.recipe(name), abstract_models.params(name)
  batch = abstract_models.blank_batch((800, 1344), num_tokens=256)
  inputs = (params, batch.image, batch.size, batch.extent)
  features = jax.eval_shape(recipe.encode_image, *inputs)
  text = jax.eval_shape(recipe.encode_text, params, batch.prompt)
  whole = count_flops(recipe.forward, params, batch)
  image = count_flops(recipe.encode_image, *inputs)
  rest = count_flops(recipe.encode_text, params, batch.prompt)
  rest += count_flops(recipe.ground, params, features, text)
  assert image + rest == whole
  assert (image + 3 * rest) / (3 * whole) < most


def count_flops(fn, *args):
  """Multiply-adds, times two, of all products; loops count as they run."""
  return _count(jax.make_jaxpr(fn)(*args).jaxpr)


def _count(jaxpr):
  total = 0
  for equation in jaxpr.eqns:
    params = equation.params
    inner = [_count(sub) for sub in jax.extend.core.jaxprs_in_params(params)]
    if equation.primitive.name == 'dot_general':
      (contracted, _), _ = params['dimension_numbers']
      shape = equation.invars[0].aval.shape
      depth = math.prod(shape[i] for i in contracted)
      total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
    elif equation.primitive.name == 'conv_general_dilated':
      kernel = equation.invars[1].aval.shape
      out = params['dimension_numbers'].rhs_spec[0]
      depth = math.prod(kernel) // kernel[out]
      total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
    elif equation.primitive.name == 'cond':
      total += max(inner)
    elif equation.primitive.name == 'while':
      assert not sum(inner), 'products in a loop of unknown length'
    else:
      total += params.get('length', 1) * sum(inner)
  return total
