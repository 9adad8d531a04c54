"""Vocabularies that take several prompts: cut, and what is found joined."""

import numpy as np
import pytest

from glip_jax import types
from glip_jax.data import settings, vocabularies
from glip_jax.errors import UserError
from glip_jax.evaluators import chunked

NAMES = ('red', 'green', 'large red circle', 'blue', 'circle', 'star', 'square')


class Source:
  """A detection source of names alone."""

  names = NAMES


def _data(**fields):
  own = dict(num_tokens=64, num_phrases=9, tokenizer='shapes')
  return settings.read_data(own | fields)


@pytest.mark.parametrize(
    'fields, counts',
    [
        ({}, [7]),
        (dict(num_tokens=7), [7]),
        (dict(chunk_names=9), [7]),
        (dict(chunk_names=3), [3, 3, 1]),
        (dict(chunk_names=9, num_phrases=2), [2, 2, 2, 1]),
        # [CLS], [SEP], and 1 for each word and full stop between names.
        (dict(chunk_names=9, num_tokens=7), [2, 2, 3]),
        (dict(chunk_names=9, num_tokens=9), [3, 4]),
        (dict(chunk_names=9, num_tokens=9, prompt_end='.'), [2, 2, 3]),
    ],
)
def test_a_prompt_has_as_many_names_as_fit(fields, counts):
  found = vocabularies.split(Source(), _data(**fields))
  assert [len(chunk.text.phrases) for chunk in found] == counts
  assert [n for chunk in found for n in chunk.text.phrases] == list(NAMES)
  starts = np.cumsum([0, *counts[:-1]]).tolist()
  assert [chunk.first for chunk in found] == starts
  if 'chunk_names' in fields:
    element = settings.to_element(_data(**fields))
    assert all(element.encode(chunk.text).mask.any() for chunk in found)


def test_a_name_that_never_fits_is_refused():
  with pytest.raises(UserError, match="'large red circle'.* alone"):
    vocabularies.split(Source(), _data(chunk_names=9, num_tokens=4))


class Detector:
  """Finds each phrase of a prompt once, at the score of its tokens."""

  def __init__(self):
    self.encoded = 0

  def encode_image(self, batch):
    self.encoded += 1
    return batch.id

  def ground(self, features, batch, prompt):
    rows, spans = len(features), prompt.spans[0]
    score = np.where(spans, prompt.ids[0], 0).sum(axis=1) / 1e3
    labels = np.argsort(-score)
    return types.Detections(
        boxes=np.repeat(labels[None, :, None] * [[[1.0, 1, 2, 2]]], rows, 0),
        scores=np.repeat(score[labels][None], rows, axis=0),
        labels=np.repeat(labels[None], rows, axis=0),
        valid=np.repeat((score[labels] > 0)[None], rows, axis=0),
    )


def test_what_several_prompts_find_is_what_one_does():
  batch = types.Batch(None, None, None, None, np.arange(2), None)

  def found(**fields):
    data, detector = _data(**fields), Detector()
    element = settings.to_element(data)
    chunks = vocabularies.split(Source(), data)
    answer = chunked.Chunked(detector, chunks, element)(batch)
    assert detector.encoded == 1
    keep = answer.valid[1]
    return list(
        zip(answer.labels[1][keep], answer.scores[1][keep], strict=True)
    )

  whole = found()
  assert sorted(label for label, _ in whole) == list(range(7))
  assert found(chunk_names=2) == found(chunk_names=9, num_tokens=7) == whole
  assert all(a[1] >= b[1] for a, b in zip(whole, whole[1:], strict=False))


def test_the_best_of_all_prompts_are_kept():
  rng = np.random.default_rng(0)

  def part(valid):
    scores = np.sort(rng.random((1, 200)))[:, ::-1]
    return types.Detections(
        boxes=rng.random((1, 200, 4)),
        scores=scores,
        labels=rng.integers(-1, 3, (1, 200)),
        valid=np.full((1, 200), valid),
    )

  parts = [(0, part(True)), (3, part(False)), (6, part(True))]
  joined = chunked.join(parts)
  assert joined.scores.shape == (1, chunked.MOST) and joined.valid.all()
  every = np.concatenate([parts[0][1].scores, parts[2][1].scores], axis=1)
  np.testing.assert_array_equal(
      joined.scores[0], np.sort(every[0])[::-1][: chunked.MOST]
  )
  labels = set(joined.labels[0].tolist())
  assert labels == {-1, 0, 1, 2, 6, 7, 8}
