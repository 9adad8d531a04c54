"""Many images and prompts through few programs: counted, ordered, the same."""

import itertools

import abstract_models
import jax
import numpy as np
import pytest
from detectors import linear_family

from glip_jax import predicting, prompting, serving
from glip_jax.data import fitting, settings
from glip_jax.errors import UserError
from glip_jax.text import prompts
from glip_jax.training import sharding

COLOURS = ('red', 'blue', 'green', 'yellow')
SHAPES = ('circle', 'square', 'star', 'cross')
PLACES = ('left', 'right', 'above', 'below')
ENDS = ('one', '')
NAMES = tuple(
    ' '.join(filter(None, words))
    for words in itertools.product(COLOURS, SHAPES, PLACES, COLOURS, ENDS)
    if words[0] != words[3]
)
CANVASES = ((64, 64), (64, 96), (96, 64))
BATCH = 4


@pytest.fixture(scope='module')
def predictor():
  """A linear model, whose programs take little time to compile."""
  recipe = linear_family.Linear(linear_family.Config())
  data = settings.read_data(
      dict(
          tokenizer='shapes',
          num_tokens=64,
          image_size=(64, 96),
          resize=(64, 96),
          buckets=[(*canvas, 64) for canvas in CANVASES],
      )
  )
  data = settings.read_data(
      {**vars(data), 'buckets': fitting.few_buckets(data)}
  )
  detector = serving.Detector(
      recipe,
      sharding.make_mesh({'data': 1}, jax.devices()[:1]),
      jax.tree.map(np.asarray, abstract_models.random_params(recipe)),
  )
  return predicting.Predictor(data, detector, threshold=0.0, batch_size=BATCH)


def _images(count, seed=0):
  rng = np.random.default_rng(seed)
  for height, width in rng.integers(20, 200, (count, 2)):
    yield rng.integers(0, 256, (height, width, 3), np.uint8)


def _same(found, want):
  assert found.phrases == want.phrases
  np.testing.assert_allclose(found.scores, want.scores, atol=1e-5)
  np.testing.assert_allclose(found.boxes, want.boxes, atol=1e-2)


def test_any_images_and_prompts_take_twelve_programs(predictor):
  rng = np.random.default_rng(1)
  counts = [1, 300, *rng.integers(1, 60, 8)]
  several = [NAMES[: counts[i // 20]] for i in range(200)]
  lowered = []
  jax.monitoring.register_event_duration_secs_listener(
      lambda name, *_, **__: lowered.append(name)
  )
  try:
    found = predictor(list(_images(200)), several)
  finally:
    jax.monitoring.clear_event_listeners()
  compiled = [name for name in lowered if 'backend_compile' in name]
  assert len(found) == 200
  for names, each in zip(several, found, strict=True):
    assert len(each) and set(each.phrases) <= set(
        prompts.from_names(names).phrases
    )
  assert predictor.detector.num_programs <= 12
  assert 1 <= len(compiled) <= 12


def test_answers_come_in_the_order_of_images_and_as_for_one_alone(predictor):
  images = list(_images(9, seed=2))
  names = NAMES[:7]
  together = predictor(images, names)
  for number in (0, 4, 8):
    alone = predictor(images[number], names)
    assert alone.size == together[number].size == images[number].shape[:2]
    _same(together[number], alone)


def test_a_long_list_finds_what_its_parts_find(predictor):
  (image,) = _images(1, seed=3)
  whole = predictor(image, NAMES[:40], top_k=30)
  chunks = prompting.read(predictor.data, NAMES[:40]).chunks
  assert len(chunks) > 1
  parts = [
      (-found.scores[i], found.phrases[i], chunk.first + found.labels[i])
      for chunk in chunks
      for found in [predictor(image, chunk.text)]
      for i in range(len(found))
  ]
  parts.sort(key=lambda part: part[0])
  assert whole.phrases == tuple(name for _, name, _ in parts[:30])
  assert whole.labels.tolist() == [label for _, _, label in parts[:30]]
  assert set(whole.phrases) - set(chunks[0].text.phrases)


def test_a_prompt_of_one_length_finds_the_same_as_in_a_longer(predictor):
  (image,) = _images(1, seed=4)
  longer = predictor.detector
  data = settings.read_data(
      {**vars(predictor.data), 'buckets': [(*CANVASES[1], 64)]}
  )
  other = predicting.Predictor(data, longer, 0.0, BATCH)
  wide = image[:40, :60].repeat(2, axis=0).repeat(2, axis=1)
  _same(predictor(wide, NAMES[:2]), other(wide, NAMES[:2]))


def test_each_image_may_have_a_prompt_of_its_own(predictor):
  images = list(_images(3, seed=5))
  several = [NAMES[:2], {'star': 'a large star'}, 'red circle. dog']
  found = predictor(images, several)
  assert [each.asked.phrases for each in found] == [
      NAMES[:2],
      ('star',),
      ('red circle', 'dog'),
  ]
  _same(found[2], predictor(images[2], 'red circle. dog'))
  with pytest.raises(UserError, match='3 prompts are given for 2 images'):
    predictor(images[:2], several)
  with pytest.raises(UserError, match='3 prompts are given for more images'):
    predictor(iter([*images, images[0]]), several)


def test_images_are_taken_from_an_iterator_as_they_are_needed(predictor):
  taken = []

  def endless():
    for image in itertools.cycle(_images(5, seed=6)):
      taken.append(image)
      yield image

  stream = predictor.stream(endless(), 'red circle')
  assert [next(stream).asked.phrases for _ in range(3)] == [('red circle',)] * 3
  assert len(taken) < 60
  stream.close()


def test_classes_that_are_set_are_encoded_once_and_need_no_prompt(
    predictor, monkeypatch
):
  (image,) = _images(1, seed=7)
  want = predictor(image, NAMES[:50])
  predictor.set_classes(NAMES[:50])
  encode = predictor.detector._programs.encode_text
  calls = []
  monkeypatch.setattr(
      predictor.detector._programs,
      'encode_text',
      lambda *args: calls.append(args) or encode(*args),
  )
  _same(predictor(image), want)
  assert not calls
  predictor.set_classes(None)
  with pytest.raises(UserError, match='prompt is missing'):
    predictor(image)


def test_what_is_asked_is_refused_before_an_image_is_read(predictor):
  class Unread:
    shape = (1, 2, 3)

    def __array__(self, *_, **__):
      pytest.fail('it was read')

  for options, said in (
      (dict(threshold=2), r'threshold=2 is not in \[0, 1\]'),
      (dict(threshold={'dgo': 0.5}), "threshold names 'dgo', .* has 'dog'"),
      (dict(top_k=0), 'top_k=0 is no number of boxes'),
      (dict(suppress='some'), "suppress='some' is no rule: give one of class"),
      (dict(overlap=0.5), 'overlap=0.5 has no meaning without suppress'),
  ):
    with pytest.raises(UserError, match=said):
      predictor(Unread(), 'dog. cat', **options)


def test_scores_of_regions_are_products_of_embeddings(predictor):
  (image,) = _images(1, seed=8)
  found = predictor.features(image, 'red circle. blue star')
  logits = found.region_embeddings @ found.word_embeddings.T - 4
  np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-logits)), atol=1e-5)
  assert found.tokens[1:3] == ('red', 'circle') and len(found.tokens) == 7
  np.testing.assert_array_equal(found.spans[:, 1], [True, False])
  best = predictor(image, 'red circle. blue star', top_k=1)
  phrases = found.scores @ found.spans.T / found.spans.sum(1)
  phrases[~found.valid] = 0
  np.testing.assert_allclose(phrases.max(), best.scores[0], atol=1e-5)
  place = np.unravel_index(phrases.argmax(), phrases.shape)
  np.testing.assert_allclose(found.boxes[place[0]], best.boxes[0], atol=1e-2)


def test_a_heat_map_of_boxes_has_the_score_of_the_best_that_a_pixel_is_in(
    predictor,
):
  (image,) = _images(1, seed=8)
  found = predictor.features(image, 'red circle. blue star')
  heat = found.heat_map('Blue Star')
  assert heat.shape == image.shape[:2]
  score = found.scores[:, found.spans[1]].mean(1)
  y, x = heat.shape[0] // 2, heat.shape[1] // 2
  inside = (np.floor(found.boxes[:, :2]) <= (x, y)).all(1)
  inside &= (np.ceil(found.boxes[:, 2:]) > (x, y)).all(1) & found.valid
  assert inside.any()
  np.testing.assert_allclose(heat[y, x], score[inside].max(), rtol=1e-6)
  assert np.asarray(found.draw('star')).ndim == 3
  with pytest.raises(UserError, match="word='cat' does not stand in the prom"):
    found.heat_map('cat')


def test_features_are_of_one_image_and_one_prompt(predictor):
  images = list(_images(2, seed=8))
  with pytest.raises(UserError, match='features are of one image'):
    predictor.features(images, 'dog')
  with pytest.raises(UserError, match='features are of one prompt: give fewer'):
    predictor.features(images[0], NAMES[:50])
