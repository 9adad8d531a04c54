"""The query model: exact under padding, and its full size."""

import functools

import abstract_models
import compiling
import jax
import numpy as np
import pytest
import query_batches

LAST = ('logits', 'boxes', 'quality', 'objectness')


@pytest.fixture(scope='module')
def tiny():
  recipe = query_batches.recipe()
  params = abstract_models.random_params(recipe)
  return recipe, params, compiling.quick_jit(recipe.forward)


def test_an_image_is_answered_alone_as_among_others_in_a_larger_canvas(tiny):
  _, params, forward = tiny
  with jax.default_matmul_precision('highest'):
    among = forward(
        params, query_batches.batch([0, 1, 2], (80, 72), num_tokens=20)
    )
    alone = forward(
        params, query_batches.batch([0], query_batches.SIZES[0], num_tokens=7)
    )
  for mine, others in zip(
      (alone, *alone.auxiliary), (among, *among.auxiliary), strict=True
  ):
    for name in LAST:
      one, many = (np.asarray(getattr(x, name))[0] for x in (mine, others))
      many = many[:, :7] if name == 'logits' else many
      np.testing.assert_allclose(
          one, many, atol=2e-5, rtol=1e-4, equal_nan=False
      )
  assert not np.allclose(among.boxes[0], among.boxes[1], rtol=0.01)


def test_queries_read_the_prompt_and_the_image(tiny):
  _, params, forward = tiny
  batch = query_batches.batch([1])
  ids = batch.prompt.ids.copy()
  ids[0, 0] += 1  # A token outside of all spans, which the pooled text sees.
  other = batch.replace(prompt=batch.prompt.replace(ids=ids))
  dark = batch.replace(image=batch.image // 2)
  boxes = [np.asarray(forward(params, x).boxes) for x in (batch, other, dark)]
  assert np.abs(boxes[0] - boxes[1]).max() > 1e-3
  assert np.abs(boxes[0] - boxes[2]).max() > 1e-3


def test_encoders_and_ground_give_what_forward_gives(tiny):
  recipe, params, forward = tiny
  batch = query_batches.batch([0, 2])

  @compiling.quick_jit
  def apart(params, batch):
    image = recipe.encode_image(params, batch.image, batch.size, batch.extent)
    return recipe.ground(
        params, image, recipe.encode_text(params, batch.prompt)
    )

  whole, parts = forward(params, batch), apart(params, batch)
  for name in LAST:
    np.testing.assert_allclose(
        getattr(whole, name), getattr(parts, name), atol=1e-5, rtol=1e-5
    )


def test_recomputing_layers_changes_no_parameter_and_no_answer(tiny):
  _, params, forward = tiny
  remat = query_batches.recipe(**{'encoder.remat': True, 'decoder.remat': True})
  batch = query_batches.batch([0])
  np.testing.assert_allclose(
      compiling.quick_jit(remat.forward)(params, batch).boxes,
      forward(params, batch).boxes,
      rtol=1e-5,
  )


def test_groups_do_not_see_each_other_and_the_first_answers():
  recipe = query_batches.recipe(num_groups=3)
  params = abstract_models.random_params(recipe)
  batch = query_batches.batch([0])
  other = params | {'queries': params['queries'].at[6:].add(1.0)}
  train = compiling.quick_jit(functools.partial(recipe.forward, train=True))
  answers = compiling.quick_jit(recipe.forward)(params, batch)
  trained, changed = train(params, batch), train(other, batch)
  assert answers.boxes.shape[1] == 6
  assert trained.boxes.shape[1] == trained.auxiliary[0].boxes.shape[1] == 18
  for outputs in (trained, changed):
    np.testing.assert_allclose(outputs.boxes[:, :6], answers.boxes, rtol=1e-5)
  assert np.abs(trained.boxes - changed.boxes)[:, 6:].min(axis=-1).all()


def test_the_textbook_model_has_the_sizes_of_detr_and_bert():
  recipe = abstract_models.recipe('textbook')
  params = abstract_models.params('textbook')
  batch = abstract_models.blank_batch((800, 1333), num_tokens=64, num_phrases=5)
  outputs = jax.eval_shape(recipe.forward, params, batch)
  assert outputs.logits.shape == (1, 100, 64)
  assert outputs.boxes.shape == (1, 100, 4)
  assert len(outputs.auxiliary) == 5
  features = jax.eval_shape(
      recipe.encode_image, params, batch.image, batch.size, batch.extent
  )
  assert features.levels[0].shape == (1, 25, 42, 256)
  count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
  # An attention has 4 matrices with biases, an MLP two, a norm 512 numbers; the
  # decoder has one norm more than its layers.
  attention, mlp = 4 * (256 * 256 + 256), 2 * 256 * 2048 + 2048 + 256
  encoder, decoder = attention + mlp + 1024, 2 * attention + mlp + 1536
  assert count([params['encoder'], params['decoder']]) == (
      6 * (encoder + decoder) + 512
  )
  # 110 M of BERT-base with its pooler.
  assert count(params['language']) == 109_482_240
