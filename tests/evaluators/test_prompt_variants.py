"""Prompts compared in one pass: by their words, orders, chunks and captions."""

import json

import numpy as np
import pytest
from PIL import Image

from glip_jax import types
from glip_jax.data import settings, vocabularies
from glip_jax.data.sources import prompted, table
from glip_jax.errors import UserError
from glip_jax.evaluators import detecting, feeding, prompt_variants, runner
from glip_jax.text import class_prompts
from glip_jax.text import tokenizer as tokenizers_lib

NAMES = 'red', 'green', 'blue', 'star'
COUNT = 5


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """An image n shows class n % 4, at a place of that class."""
  folder = tmp_path_factory.mktemp('set')
  content = dict(images=[], annotations=[], categories=[])
  content['categories'] = [dict(id=i, name=n) for i, n in enumerate(NAMES, 1)]
  for n in range(COUNT):
    Image.new('RGB', (60, 60), (n, 0, 0)).save(folder / f'{n}.png')
    image = dict(id=n, file_name=f'{n}.png', width=60, height=60)
    content['images'].append(image)
    box = dict(id=n + 1, image_id=n, category_id=n % 4 + 1)
    content['annotations'].append(box | dict(bbox=[10 * (n % 4), 5, 10, 10]))
  (folder / 'all.json').write_text(json.dumps(content))
  return table.open_source(dict(annotations=str(folder / 'all.json')))


class _Detector:
  """Finds a class, sure of what is there, if it reads its word alone.

  Of a phrase of other words than a name it finds nothing. What comes first in a
  prompt is found wherever `is_biased`.
  """

  def __init__(self, is_biased=False):
    self.encoded = 0
    self._biased = is_biased
    loaded = tokenizers_lib.load_tokenizer('shapes')
    self._ids = [loaded.convert_tokens_to_ids(name) for name in NAMES]

  def encode_image(self, batch):
    self.encoded += 1
    return np.asarray(batch.image)[:, 0, 0, 0] % 4

  def ground(self, features, batch, prompt):
    if isinstance(prompt, types.ClassCaptions):
      read = [
          row[mask][1]
          for row, mask in zip(prompt.ids, prompt.mask, strict=True)
      ]
    else:
      read = [prompt.ids[0][span][-1:].sum() for span in prompt.spans[0]]
    scores = np.zeros((len(features), len(read)), np.float32)
    boxes = np.zeros((*scores.shape, 4), np.float32)
    for row, there in enumerate(features):
      for label, word in enumerate(read):
        if word in self._ids:
          own = self._ids.index(word)
          boxes[row, label] = [10 * own, 5, 10 * own + 10, 15]
          sure = own == there or (self._biased and label == 0)
          scores[row, label] = 0.9 if sure else 0.2
    labels = np.broadcast_to(np.arange(len(read)), scores.shape)
    return types.Detections(boxes, scores, labels, valid=scores > 0)


def _data(**fields):
  own = dict(
      tokenizer='shapes',
      num_tokens=32,
      num_phrases=6,
      image_size=(64, 64),
      resize=(60, 60),
  )
  return settings.read_data(own | fields)


def _worded(source, **content):
  return prompted.by_class(source, class_prompts.parse(content))


def _report(source, detector, permutations=0, **fields):
  sources = {
      'names': source,
      'worse': _worded(
          source, star={'name': 'star', 'suffix': 'large', 'scored': 'all'}
      ),
      'same': _worded(source, star={'prefix': 'a', 'suffix': 'large'}),
  }
  return prompt_variants.evaluate(
      'val',
      runner.Evaluation(batch_size=2),
      sources,
      detector,
      data=_data(**fields),
      permutations=permutations,
  )


@pytest.mark.parametrize('chunk_names', [0, 3])
def test_each_prompt_is_scored_and_images_are_encoded_once(source, chunk_names):
  detector = _Detector()
  report = _report(source, detector, permutations=2, chunk_names=chunk_names)
  assert detector.encoded == 3  # Batches.
  found = report.metrics
  assert found['names'] == found['same'] == pytest.approx(1.0)
  assert found['worse'] == pytest.approx(0.75)
  for each in report.variants:
    assert len(each.values) == 3
    assert each.deviation == 0  # It reads words, wherever they stand.


def test_how_far_the_order_moves_a_number_is_told(source):
  report = _report(source, _Detector(is_biased=True), permutations=4)
  first = report.variants[0]
  assert first.deviation > 0
  told = report.to_json()['variants']['names']
  assert told['range'] == [min(first.values), max(first.values)]
  assert told['mean'] == pytest.approx(np.mean(first.values))
  lines = report.table().split('\n')
  assert lines[0].split() == ['prompt', 'AP', 'mean', 'dev', 'low', 'high']
  assert lines[1].split()[0] == 'names' and len(lines) == 4
  again = _report(source, _Detector(is_biased=True), permutations=4)
  assert again.variants[0].values == first.values


@pytest.mark.parametrize('chunk_names', [0, 3])
def test_classes_as_captions_are_evaluated_in_one_text_or_chunks(
    source, chunk_names
):
  data = _data(class_captions='first', chunk_names=chunk_names, num_tokens=8)
  own = _worded(source, star={'description': 'large'})
  parts = vocabularies.split(own, data)
  assert len(parts) == (2 if chunk_names else 1)
  captions = vocabularies.captions(own, data)
  encoded = captions.encode(parts[-1].text)
  loaded = tokenizers_lib.load_tokenizer('shapes')
  spelled = [
      loaded.decode(ids[mask])
      for ids, mask in zip(encoded.ids, encoded.mask, strict=True)
  ]
  last = ['[CLS] star : large [SEP]', '[CLS] [SEP]', '[CLS] [SEP]']
  assert spelled == last if chunk_names else spelled[3] == last[0]
  assert encoded.valid.sum() == (1 if chunk_names else 4)
  _, evaluator = runner.build('val', runner.Evaluation(), source=own)
  detector = _Detector()
  feeding.feed(
      evaluator,
      runner.pipeline.eval_batches(own, data, batch_size=2),
      detecting.detect_in(own, detector, data),
  )
  assert evaluator.result().metrics['AP'] == pytest.approx(1.0)
  assert detector.encoded == 3


def test_captions_that_cannot_be_read_are_refused_by_name(source):
  own = _worded(source, star={'suffix': ' large' * 9})
  with pytest.raises(
      UserError, match="class 'star' has 12 tokens, num_tok.*=8"
  ):
    vocabularies.check_evaluated(
        own, _data(class_captions='mean', num_tokens=8)
    )
  own = _worded(source, star='\u56fe')
  with pytest.raises(UserError, match="no word of 'star'"):
    vocabularies.check_evaluated(own, _data(class_captions='mean'))
