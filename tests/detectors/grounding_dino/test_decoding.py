"""Decoding by phrases and by tokens, and what queries are called then."""

import abstract_models
import jax.numpy as jnp
import numpy as np
import pytest
from parity import dino, modes

from glip_jax import errors, types
from glip_jax.detectors import recipe as recipes

LOW, HIGH = 0.3, 0.4


def _batch(mask):
  """Two phrases, of tokens 1 and 2 and of token 4."""
  spans = np.zeros((1, 3, 7), bool)
  spans[0, 0, 1:3] = spans[0, 1, 4] = True
  batch = abstract_models.blank_batch((64, 96), num_tokens=7, num_phrases=3)
  return batch.replace(
      prompt=batch.prompt.replace(mask=np.array([mask]), spans=spans)
  )


def _outputs(chances, valid):
  """Queries with these probabilities of tokens, boxes partly outside."""
  chances = np.asarray(chances, np.float32)
  boxes = np.arange(len(chances))[:, None] * 10.0 + [-20, 5, 40, 70]
  return types.Outputs(
      jnp.asarray(np.log(chances / (1 - chances)))[None],
      jnp.asarray(boxes, jnp.float32)[None],
      None,
      None,
      jnp.asarray([valid]),
  )


def _recipe(**options):
  changes = {f'decode.{key}': x for key, x in options.items()}
  return abstract_models.build('nano_gd', changes)


def test_by_tokens_a_query_is_found_once_and_named_by_all_it_likes():
  mask = [True] * 6 + [False]
  chances = np.array([
      [0.9, 0.5, 0.2, 0.1, 0.6, 0.1, 0.99],  # The best is no name.
      [0.1, 0.2, 0.2, 0.1, 0.1, 0.1, 0.99],  # Only padding is over.
      [0.1, 0.1, 0.35, 0.7, 0.1, 0.5, 0.1],
      [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9],  # Is none.
      [0.1, 0.1, 0.1, 0.1, 0.1, 0.42, 0.1],
  ])
  valid = [True, True, True, False, True]
  recipe = _recipe(rule='hf', score_threshold=HIGH, text_threshold=LOW)
  batch = _batch(mask)
  found = recipe.decode(_outputs(chances, valid), batch)
  own = np.asarray(found.valid[0])
  np.testing.assert_allclose(found.scores[0][own], [0.9, 0.7, 0.42], rtol=1e-5)
  names = [np.flatnonzero(x).tolist() for x in found.tokens[0][own]]
  assert names == [[1, 4], [2, 3, 5], [5]]
  assert np.asarray(found.labels[0][own])[:2].tolist() == [1, 0]
  want = [[0, 5, 40, 64], [0, 25, 60, 64], [20, 45, 80, 64]]
  np.testing.assert_array_equal(found.boxes[0][own], want)
  assert not np.any(found.tokens[0][~own])
  batch = batch.replace(
      prompt=batch.prompt.replace(spans=np.zeros((1, 3, 7), bool))
  )
  nameless = recipe.decode(_outputs(chances, valid), batch)
  assert np.all(np.asarray(nameless.labels) == -1)


def test_thresholds_of_a_call_go_before_those_of_the_config():
  recipe = _recipe(rule='hf')
  assert recipe.thresholds == dict(score_threshold=0.0, text_threshold=0.25)
  assert _recipe().thresholds == dict(score_threshold=0.0)
  outputs = _outputs(np.full((1, 7), 0.5), [True])
  batch = _batch([True] * 7)
  assert np.all(recipe.decode(outputs, batch).tokens[0, 0, 1:])
  found = recipe.decode(outputs, batch, text_threshold=0.6)
  assert found.valid.all() and not found.tokens.any()


def test_by_phrases_nothing_is_named_by_tokens():
  outputs = _outputs(np.full((1, 7), 0.5), [True])
  assert _recipe().decode(outputs, _batch([True] * 7)).tokens is None
  with pytest.raises(errors.UserError, match="decode.rule='both' must be one"):
    recipes.build(dict(family='grounding_dino', decode=dict(rule='both')))


def test_the_tokenizer_names_queries_as_the_references_does(shared):
  del shared  # Where the words are.
  stored = dino.stored('gd_nano')
  tokenizer, seen = modes.tokenizer(), 0
  ids = stored.inputs['det_input_ids']
  for run in stored.summary['det_postprocess']:
    for row, image in enumerate(run['results']):
      for places, name in zip(
          image['token_positions'], image['text_labels'], strict=True
      ):
        assert tokenizer.decode(ids[row][places]) == name
        seen += 1
  assert seen == 160
