"""Detections of a batch, back in the pixels of each picture."""

import json

import jax.numpy as jnp
import numpy as np

from glip_jax import types
from glip_jax.detectors.glip import inclusive
from glip_jax.evaluators import unpack


def test_boxes_of_each_phrase_are_those_of_the_reference(golden):
  """Its Flickr post-processing: resized, by phrase, best first."""
  path = golden / 'parts' / 'flickr_post_process.json'
  stored = json.loads(path.read_text())
  width, height = stored['size_wh']
  original = np.array(stored['orig_size_hw'])
  prompt = types.Prompt(*np.zeros((3, 1, 1)))
  scale = (np.array([height, width]) / original)[None].astype(np.float32)
  batch = types.Batch(
      image=np.zeros((1, height, width, 3), np.uint8),
      size=np.array([[height, width]]),
      extent=np.array([[height, width]]),
      scale=scale,
      id=np.array([7]),
      prompt=prompt,
  )
  order = np.argsort(-np.array(stored['scores']), kind='stable')
  # The original ends boxes at their last pixel, we at the edge.
  last = jnp.asarray(stored['boxes'], jnp.float32)[None, order]
  found = types.Detections(
      boxes=inclusive.to_edges(last, jnp.asarray(scale)),
      scores=np.array(stored['scores'])[None, order],
      # The original's labels count from 1.
      labels=np.array(stored['labels'])[None, order] - 1,
      valid=np.ones((1, len(order)), bool),
  )
  (image,) = unpack.unpack(batch, found)
  assert image.index == 7
  assert stored['n_phrases'] == 3
  for phrase in range(3):
    # The original adds an empty box to every phrase.
    *boxes, empty = stored['out_boxes'][phrase]
    assert empty == [0, 0, 0, 0]
    own = image.labels == phrase
    mine = image.boxes[own] - [0, 0, 1, 1]
    np.testing.assert_allclose(mine, boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(image.scores[own], stored['out_scores'][phrase])


def test_objects_that_no_phrase_names_are_for_those_who_ask():
  prompt = types.Prompt(*(np.zeros((1, 1)),) * 3)
  batch = types.Batch(
      image=None,
      size=None,
      extent=None,
      scale=np.ones((1, 2)),
      id=np.zeros(1, int),
      prompt=prompt,
  )
  found = types.Detections(
      boxes=np.zeros((1, 2, 4)),
      scores=np.array([[0.9, 0.8]]),
      labels=np.array([[-1, 0]]),
      valid=np.ones((1, 2), bool),
  )
  (image,) = unpack.unpack(batch, found)
  assert image.labels.tolist() == [0]
  (image,) = unpack.unpack(batch, found, unknown=True)
  assert image.labels.tolist() == [-1, 0]
