"""Grounding DINO against Hugging Face's, stage by stage, on nano models."""

import dino_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glip_jax import errors, types
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.grounding_dino import (
    hugging_face_weights,
    objective,
)
from glip_jax.weights import formats, params_file, rules

CANVAS = (160, 192)
SIZES = ((130, 146), (106, 170))
WHOLE = (130, 170)
LAYERS = {
    'query_pos': 'query_pos',
    'queries_norm_out': 'after_self_attn',
    'text_norm_out': 'after_text_attn',
    'image_norm_out': 'after_deform_attn',
    'hidden': 'hidden',
}


@pytest.fixture(scope='module')
def gd():
  return dino_reference.Reference('gd')


@pytest.fixture(scope='module', params=['gd', 'mm', 'mms'])
def model(request, gd):
  if request.param == 'gd':
    return gd
  return dino_reference.Reference(request.param)


def _grid(x, extent, stride):
  """A map's own cells, channels first."""
  h, w = (-(-side // stride) for side in extent)
  return np.asarray(x)[:, :h, :w].transpose(0, 3, 1, 2)


def test_every_stage_is_the_references(gd):
  batch = gd.batch('det')
  index = gd.arrays['det_topk_indices']
  chosen = dino_reference.placed(index, WHOLE, CANVAS)
  _, stages = gd.run(batch, chosen)
  inside = ~gd.arrays['det_enc_vision_pad_mask'][..., None]
  flat = lambda x: dino_reference.cut(x, WHOLE, CANVAS)
  errors = {}

  def compare(key, mine, where=None):
    errors[key] = gd.compare(f'det_{key}', mine, where)

  for i, stride in zip((2, 3, 4), (8, 16, 32), strict=True):
    stage = stages['backbone'][f'stage{i + 1}'][0]
    compare(f'swin_stage{i}', _grid(stage, WHOLE, stride))
  for i, stride in enumerate(dino_reference.STRIDES):
    level = stages['pyramid'][f'level{i}'][0]
    compare(f'input_proj{i}', _grid(level, WHOLE, stride))
  language = stages['language']
  compare('bert_embeddings', language['embeddings'][0])
  compare('bert_last_hidden', language['hidden'][0])
  compare('text_features', stages['text_features'][0])
  encoder = stages['encoder']['layers']
  for i in range(2):
    rows = lambda name, i=i: flat(encoder[name][0][i])
    compare(f'enc{i}_fusion_vision', rows('fusion_image'), inside)
    compare(f'enc{i}_fusion_text', encoder['fusion_text'][0][i])
    compare(f'enc{i}_text', encoder['text_layer'][0][i])
    compare(f'enc{i}_vision', rows('image_layer'), inside)
  compare('object_query', flat(stages['object_query'][0]), inside)
  compare('init_reference_points', stages['references'][0])
  decoder = stages['decoder']
  for i in range(2):
    for ours, theirs in LAYERS.items():
      compare(f'dec{i}_{theirs}', decoder['layers'][ours][0][i])
    moved = decoder['layers']['reference'][0][i]
    compare(f'dec{i}_reference_points', moved)
    compare(f'dec{i}_normed', decoder['normed'][0][i])
  worst = max(errors.items(), key=lambda item: item[1])
  assert worst[1] <= 1e-4, worst


@pytest.mark.parametrize('prompt', ['det', 'mix', 'train'])
def test_queries_logits_and_boxes_are_the_references(model, prompt):
  batch = model.batch(prompt)
  outputs, stages = model.run(batch)
  index = model.arrays[f'{prompt}_topk_indices']
  chosen = dino_reference.placed(index, WHOLE, CANVAS)
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
    chosen = dino_reference.placed(index, size, (192, 224))
    np.testing.assert_array_equal(stages['chosen'][0][i], chosen[0])
    logits = np.asarray(outputs.logits)[i : i + 1, :, : dino_reference.TOKENS]
    assert gd.compare(f'alone{i}_logits', logits) <= 1e-3
    key = f'alone{i}_pred_boxes'
    assert gd.compare(key, boxes[i : i + 1]) <= 1e-4


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


def _encoder_logits(model, params, stages, batch):
  """The reference's own: of embeddings, before the encoder, not of rows."""
  queries = jnp.broadcast_to(params['queries'], (2, *params['queries'].shape))
  logits = jnp.einsum('bqd,btd->bqt', queries, stages['text_features'][0])
  if 'proposal_bias' in params:
    logits = logits * queries.shape[-1] ** -0.5 + params['proposal_bias']
  return jnp.where(batch.prompt.mask[:, None], logits, -1e4)


@pytest.mark.slow
def test_gradients_are_the_references(model):
  """Of all layers' losses and of the reference's own loss of the encoder."""
  batch, recipe = model.batch('train'), model.recipe
  index = model.arrays['train_topk_indices']
  chosen = dino_reference.placed(index, WHOLE, CANVAS)

  def loss(params):
    outputs, state = recipe.model.apply(
        {'params': params},
        *recipe._inputs(batch),
        chosen=chosen,
        mutable=['intermediates'],
    )
    stages = state['intermediates']
    encoder = types.Outputs(
        _encoder_logits(model, params, stages, batch),
        jax.lax.stop_gradient(outputs.encoder.boxes),
        None,
        None,
        outputs.valid,
    )
    return recipe.loss(outputs.replace(encoder=encoder), batch)[0]

  with jax.default_matmul_precision('highest'):
    total, gradient = jax.jit(jax.value_and_grad(loss))(model.params)
  np.testing.assert_allclose(total, model.summary['train_loss'], rtol=1e-5)
  state = hugging_face_weights.to_hugging_face(gradient)
  names = {dino_reference.file_name(key): key for key in model.keys}
  seen = 0
  for row, key in enumerate(model.summary['grad_keys']):
    name = dino_reference.file_name(key)
    if 'key.bias' in name or 'k_proj.bias' in key or name not in state:
      continue
    assert name in names
    mine = np.asarray(state[name], np.float64).reshape(-1)
    want = model.arrays['grad_sample'][row]
    places = dino_reference.sample(f'grad/{key}', mine.size, want.size)
    apart = np.linalg.norm(mine[places] - want)
    assert apart <= 1e-3 * (np.linalg.norm(want) + 1e-6), name
    norm = model.arrays['grad_norm'][row]
    np.testing.assert_allclose(np.linalg.norm(mine), norm, rtol=1e-3)
    seen += 1
  assert seen > 350
