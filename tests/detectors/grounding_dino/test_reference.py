"""Grounding DINO against Hugging Face's, stage by stage, on nano models."""

import dino_weights
import jax
import numpy as np
import pytest
from parity import dino, dino_detections, dino_stages, dino_training, reference

from glip_jax import errors
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.grounding_dino import (
    hugging_face_weights,
    objective,
)
from glip_jax.weights import formats, params_file, rules

CANVAS = (160, 192)
SIZES = ((130, 146), (106, 170))
WHOLE = (130, 170)


@pytest.fixture(scope='module')
def gd():
  return dino.stored('gd_nano')


def _params():
  """The models; one that differs from another in a norm runs with the slow."""
  slow = {'mms_nano': [pytest.mark.slow]}
  return [pytest.param(n, marks=slow.get(n, ())) for n in dino.SMALL]


@pytest.fixture(scope='module', params=_params())
def model(request, gd):
  if request.param == gd.name:
    return gd
  return dino.stored(request.param)


def test_every_stage_is_the_references(gd):
  rows = dino_stages.rows(gd.name, 'det')
  assert len(rows) == 53
  assert not [row for row in rows if not row.ok]
  # What the decoder gives is held to what features are.
  others = [row for row in rows if 'logits' not in row.family]
  assert max(row.error for row in others) <= 1e-4


def test_every_stored_stage_is_compared(gd):
  """But logits of boxes, which ours computes for chosen positions alone."""
  found = {row.stage for row in dino_stages.rows(gd.name, 'det')}
  keys = {key.split('__')[0] for key in gd.arrays.files}
  keys = {key[4:] for key in keys if key.startswith('det_')}
  assert keys - found == {'enc_coord_logits', 'topk_indices'}


@pytest.mark.parametrize('prompt', ['det', 'mix', 'train'])
def test_queries_logits_and_boxes_are_the_references(model, prompt):
  batch = model.batch(prompt)
  outputs, stages = model.run(batch)
  index = model.arrays[f'{prompt}_topk_indices']
  chosen = dino.placed(index, WHOLE, CANVAS)
  np.testing.assert_array_equal(stages['chosen'][0], chosen)
  mask = np.asarray(batch.prompt.mask)[:, None]
  key = f'{prompt}_logits'
  assert model.compare(key, outputs.logits, mask) <= 1e-3
  boxes = stages['decoder']['refined'][0][-1]
  assert model.compare(f'{prompt}_pred_boxes', boxes) <= 1e-4


def test_an_image_in_any_company_is_what_it_is_alone(gd):
  """In a larger canvas and a longer prompt, beside another image."""
  batch = gd.batch('det', alone=True, canvas=(192, 224), num_tokens=24)
  outputs, stages = gd.run(batch)
  boxes = np.asarray(stages['decoder']['refined'][0][-1])
  for i, size in enumerate(SIZES):
    index = gd.arrays[f'alone{i}_topk_indices']
    chosen = dino.placed(index, size, (192, 224))
    np.testing.assert_array_equal(stages['chosen'][0][i], chosen[0])
    logits = np.asarray(outputs.logits)[i : i + 1, :, : dino.TOKENS]
    assert gd.compare(f'alone{i}_logits', logits) <= 1e-3
    key = f'alone{i}_pred_boxes'
    assert gd.compare(key, boxes[i : i + 1]) <= 1e-4


def test_queries_are_named_and_scored_as_by_the_references_processor(model):
  shares = dino_detections.shares(model.name)
  assert len(shares) == 6
  assert set(shares.values()) == {1.0}


def test_files_are_read_and_written_by_hugging_faces_names(model):
  state = hugging_face_weights.to_hugging_face(model.params)
  assert state.keys() == model.file_keys
  unused = {key for key in state if 'swin.layernorm' in key}
  for key in state.keys() - unused:
    np.testing.assert_array_equal(state[key], model.state[key])
  again = hugging_face_weights.from_hugging_face(state, model.shapes)
  jax.tree.map(np.testing.assert_array_equal, again, model.params)


def test_training_starts_from_a_whole_file(gd, tmp_path):
  path = tmp_path / 'dino.safetensors'
  formats.write(path, hugging_face_weights.to_hugging_face(gd.params))
  start, unused = params_file.read_start(path, gd.shapes, gd.recipe)
  assert not unused
  for name, value in rules.flatten(gd.params).items():
    np.testing.assert_array_equal(start[name], value)
  glip = recipes.build(recipes.variant('nanoA'))
  with pytest.raises(errors.UserError, match='holds no model of this family'):
    params_file.read_start(path, {}, glip)


def test_a_copy_of_a_shared_head_that_differs_is_refused(gd):
  key = 'model.decoder.bbox_embed.1.layers.0.bias'
  state = gd.state | {key: gd.state[key] + 1}
  with pytest.raises(rules.WeightsError, match='bbox_embed.1.layers.0.bias'):
    hugging_face_weights.from_hugging_face(state, gd.shapes)


def test_matches_and_losses_are_the_references(model):
  batch = model.batch('train')
  outputs, _ = model.run(batch)
  config = model.recipe.config.loss
  layers = {'final': outputs, 'aux0': outputs.auxiliary[0]}
  for name, layer in layers.items():
    query = np.asarray(objective.match(layer, batch, config))
    for i, want in enumerate(model.summary['train_matches'][name]):
      pairs = dict(zip(want['target'], want['query'], strict=True))
      mine = {m: int(q) for m, q in enumerate(query[i]) if q >= 0}
      assert mine == pairs
  want = model.summary['train_loss_dict']
  count = 6
  for end, layer in {'': outputs, '_0': outputs.auxiliary[0]}.items():
    sums = objective.layer_sums(layer, batch, config)
    for mine, name in zip(sums, ('ce', 'bbox', 'giou'), strict=True):
      key = f'loss_{name}{end}'
      np.testing.assert_allclose(mine.sum() / count, want[key], rtol=1e-4)
  total, parts = model.recipe.loss(outputs, batch)
  expected = model.summary['train_loss_decoder_only']
  mine = total - parts['loss_encoder']
  np.testing.assert_allclose(mine, expected, rtol=1e-4)


def test_totals_with_the_references_own_loss_of_the_encoder_are_its(model):
  rows = dino_training.rows(model.name)
  assert len(rows) == 12
  assert not [row for row in rows if not row.ok]
  matches = dino_training.matches(model.name)
  assert len(matches) == 6 and all(matches.values())


@pytest.mark.slow
def test_gradients_are_the_references(model):
  """Of all layers' losses and of the reference's own loss of the encoder."""
  batch, recipe = model.batch('train'), model.recipe
  index = model.arrays['train_topk_indices']
  chosen = dino.placed(index, WHOLE, CANVAS)

  def loss(params):
    outputs, stages = dino.apply(recipe, params, batch, chosen)
    outputs = dino_training.with_encoder(params, outputs, stages, batch)
    return recipe.loss(outputs, batch)[0]

  with jax.default_matmul_precision('highest'):
    total, gradient = jax.jit(jax.value_and_grad(loss))(model.params)
  np.testing.assert_allclose(total, model.summary['train_loss'], rtol=1e-5)
  state = hugging_face_weights.to_hugging_face(gradient)
  names = {dino_weights.file_name(key): key for key in model.keys}
  seen = 0
  for row, key in enumerate(model.summary['grad_keys']):
    name = dino_weights.file_name(key)
    if 'key.bias' in name or 'k_proj.bias' in key or name not in state:
      continue
    assert name in names
    mine = np.asarray(state[name], np.float64).reshape(-1)
    want = model.arrays['grad_sample'][row]
    entries = reference.sample(f'grad/{key}', mine, want.size)
    apart = np.linalg.norm(entries - want)
    assert apart <= 1e-3 * (np.linalg.norm(want) + 1e-6), name
    norm = model.arrays['grad_norm'][row]
    np.testing.assert_allclose(np.linalg.norm(mine), norm, rtol=1e-3)
    seen += 1
  assert seen > 350
