"""The dense objective against loops, the reference, and masked inputs."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import naive_boxes
import numpy as np
import pytest

from glip_jax import types
from glip_jax.detectors.glip import objective as dense
from glip_jax.ops import anchors as anchor_ops
from glip_jax.ops import boxes as box_ops

_CANVAS = (96, 128)
_SIZES = anchor_ops.pyramid_sizes(*_CANVAS)
_NUM_REGIONS = sum(h * w for h, w in _SIZES)
_SIZE = ((90, 120), (96, 128))
# (y, x) of two images: one magnified and shrunk, one at odd factors.
_SCALES = ((2.0, 0.5), (0.7, 1.3))

# Shared, so that each shape is compiled once.
_anchors = jax.jit(anchor_ops.pyramid_anchors, static_argnums=0)
_inside = jax.jit(anchor_ops.anchors_inside, static_argnums=1)
_decode_boxes = jax.jit(box_ops.decode_boxes)
_decode = jax.jit(dense.decode)
_sums = jax.jit(dense.loss_sums)
_LIMIT, _PER_LEVEL = 20, 30
_decode_all = jax.jit(
    functools.partial(
        dense.decode,
        score_threshold=-1.0,
        pre_nms_top_k=_PER_LEVEL,
        nms_threshold=0.5,
        max_detections=_LIMIT,
    )
)


@jax.jit
def _loss_and_gradients(outputs, batch):
  def loss(logits, boxes, quality):
    changed = outputs.replace(logits=logits, boxes=boxes, quality=quality)
    return dense.loss(changed, batch)

  inputs = (outputs.logits, outputs.boxes, outputs.quality)
  return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(*inputs)


def _outputs(logits, deltas, quality, sizes=_SIZES, valid=None):
  anchors = np.broadcast_to(_anchors(sizes), deltas.shape)
  boxes = _decode_boxes(deltas, anchors)
  if valid is None:
    valid = np.ones(quality.shape, bool)
  return types.Outputs(
      logits=np.asarray(logits, np.float32),
      boxes=np.array(boxes),
      quality=np.asarray(quality, np.float32),
      anchors=anchors,
      valid=valid,
      level_sizes=sizes,
  )


def _batch(spans, *, size=_SIZE, mask=None, targets=None, scale=(1, 1)):
  num_images, _, num_tokens = spans.shape
  if mask is None:
    mask = np.ones((num_images, num_tokens), bool)
  return types.Batch(
      image=np.zeros((num_images, 1, 1, 3), np.uint8),
      size=np.asarray(size, np.int32),
      extent=np.asarray(size, np.int32),
      scale=np.broadcast_to(scale, (num_images, 2)).astype(np.float32),
      id=np.arange(num_images, dtype=np.int32),
      prompt=types.Prompt(
          ids=np.zeros(mask.shape, int), mask=mask, spans=spans
      ),
      targets=targets,
  )


def _example(seed, num_tokens=16):
  """Random outputs and targets of two images, with padding of every kind."""
  rng = np.random.default_rng(seed)
  extent = np.array([[64, 128], [96, 96]])
  outputs = _outputs(
      rng.normal(-1, 1.5, (2, _NUM_REGIONS, num_tokens)),
      rng.normal(0, 1, (2, _NUM_REGIONS, 4)).astype(np.float32),
      rng.normal(0, 1, (2, _NUM_REGIONS)),
      valid=np.array(_inside(extent, _SIZES)),
  )
  targets = types.Targets(
      boxes=np.stack(
          [naive_boxes.random_boxes(rng, (5,), *size) for size in extent]
      ),
      phrase=np.zeros((2, 5), int),
      tokens=rng.random((2, 5, num_tokens)) < 0.3,
      valid=np.array([[True, True, True, False, False], [True] * 5]),
      crowd=np.array([[False] * 5, [True, False, False, False, True]]),
  )
  # Padding tokens are the last ones, except in an image that has none.
  mask = np.arange(num_tokens) < np.array([[num_tokens - 5], [num_tokens]])
  spans = rng.random((2, 8, num_tokens)) < 0.2
  return outputs, _batch(
      spans, size=extent, mask=mask, targets=targets, scale=_SCALES
  )


def _pixel(batch, image):
  """[0 0 x y]: the size of an original pixel, for x2 and y2."""
  return np.r_[0, 0, batch.scale[image][::-1]]


def _naive_giou_loss(box, other):
  union = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod()
  sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
  intersection = np.maximum(sides, 0).prod()
  union -= intersection
  hull = np.maximum(box[2:], other[2:]) - np.minimum(box[:2], other[:2])
  return 1 - (intersection / union - (hull.prod() - union) / hull.prod())


def _naive_losses(outputs, batch):
  """(token, box, centerness, positives) of `dense.loss`, one by one."""
  token = box = quality = weights = positives = 0.0
  for b in range(2):
    targets = jax.tree.map(lambda x, b=b: x[b], batch.targets)
    boxes = targets.boxes.astype(float) - _pixel(batch, b)
    matched = naive_boxes.assign_atss(
        outputs.anchors[b],
        outputs.valid[b],
        boxes,
        targets.valid & ~targets.crowd,
        _SIZES,
        9,
    )
    for r in np.flatnonzero(outputs.valid[b]):
      described = np.zeros(outputs.logits.shape[2], bool)
      if matched[r] >= 0:
        described = targets.tokens[matched[r]]
      elif len(described) == 256:
        described[255] = True
      logits = outputs.logits[b, r].astype(float)
      p = 1 / (1 + np.exp(-np.where(described, logits, -logits)))
      focal = np.where(described, 0.25, 0.75) * (1 - p) ** 2 * -np.log(p)
      token += focal[batch.prompt.mask[b]].sum()
      if matched[r] < 0:
        continue
      truth = boxes[matched[r]]
      centre = (outputs.anchors[b, r, :2] + outputs.anchors[b, r, 2:]) / 2
      near, far = centre - truth[:2], truth[2:] - centre
      ratios = np.minimum(near, far) / np.maximum(near, far)
      weight = math.sqrt(ratios.prod())
      box += weight * _naive_giou_loss(outputs.boxes[b, r].astype(float), truth)
      p = 1 / (1 + math.exp(-outputs.quality[b, r]))
      quality -= weight * math.log(p) + (1 - weight) * math.log(1 - p)
      weights, positives = weights + weight, positives + 1
  return token / positives, 2 * box / weights, quality / positives, positives


@pytest.mark.parametrize('num_tokens', [16, 256])
def test_loss_equals_a_loop_and_only_full_prompts_have_no_object(num_tokens):
  outputs, batch = _example(0, num_tokens)
  outputs.logits[..., -1] += 3.0
  (total, terms), gradients = _loss_and_gradients(outputs, batch)
  expected = _naive_losses(outputs, batch)
  names = ('loss_token', 'loss_box', 'loss_centerness', 'num_positives')
  for name, value in zip(names, expected, strict=True):
    np.testing.assert_allclose(terms[name], value, rtol=1e-4, err_msg=name)
  np.testing.assert_allclose(total, sum(expected[:3]), rtol=1e-4)
  for gradient in gradients:
    assert jnp.isfinite(gradient).all() and (gradient != 0).any()


def test_padding_carries_no_gradient_whatever_the_network_says_there():
  outputs, batch = _example(1)
  outside = ~outputs.valid
  outputs.logits[outside] = np.nan
  outputs.boxes[outside] = np.inf
  outputs.quality[outside] = np.nan
  outputs.logits[~batch.prompt.mask[:, None].repeat(_NUM_REGIONS, 1)] = np.inf
  (total, _), gradients = _loss_and_gradients(outputs, batch)
  assert jnp.isfinite(total)
  for gradient in gradients:
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(np.asarray(gradient)[outside], 0.0)
  by_token = np.asarray(gradients[0]).transpose(0, 2, 1)
  np.testing.assert_array_equal(by_token[~batch.prompt.mask], 0.0)


@pytest.mark.parametrize('masked', ['boxes', 'regions', 'tokens'])
def test_loss_and_gradients_are_finite_where_all_is_masked(masked):
  outputs, batch = _example(2)
  if masked == 'boxes':
    batch.targets.valid[:] = False
    batch.targets.boxes[:] = 0.0
  elif masked == 'regions':
    outputs.valid[:] = False
  else:
    batch.prompt.mask[:] = False
  (total, terms), gradients = _loss_and_gradients(outputs, batch)
  assert all(jnp.isfinite(x) for x in (total, *terms.values()))
  assert all(jnp.isfinite(x).all() for x in gradients)
  assert (terms['num_positives'] == 0) == (masked != 'tokens')
  assert (terms['loss_token'] == 0) == (masked != 'boxes')


def test_a_box_beyond_the_reach_of_its_anchors_is_learned_at_their_limit():
  anchor = np.array([[[3996.0, 3996.0, 4003.0, 4003.0]]], np.float32)
  half = (62.5 * 8 - 1) / 2
  limit = [3999.5 - half, 3999.5 - half, 3999.5 + half, 3999.5 + half]
  outputs = types.Outputs(
      logits=np.zeros((1, 1, 4), np.float32),
      boxes=np.array([[limit]], np.float32),
      quality=np.zeros((1, 1), np.float32),
      anchors=anchor,
      valid=np.ones((1, 1), bool),
      level_sizes=((1, 1),),
  )
  targets = types.Targets(
      boxes=np.array([[[0.0, 0.0, 8000.0, 8000.0]]], np.float32),
      phrase=np.zeros((1, 1), int),
      tokens=np.ones((1, 1, 4), bool),
      valid=np.ones((1, 1), bool),
      crowd=np.zeros((1, 1), bool),
  )
  batch = _batch(
      np.ones((1, 1, 4), bool), size=((8000, 8000),), targets=targets
  )
  _, terms = jax.jit(dense.loss)(outputs, batch)
  assert terms['num_positives'] == 1
  np.testing.assert_allclose(terms['loss_box'], 0.0, atol=1e-5)


def test_sums_of_an_image_do_not_depend_on_its_batch():
  outputs, batch = _example(3)
  sums = _sums(outputs, batch)
  assert (sums.num_positives > 0).all()
  swapped = jax.tree.map(lambda x: x[::-1], (outputs, batch))
  for ours, theirs in zip(sums, _sums(*swapped), strict=True):
    np.testing.assert_allclose(ours, theirs[::-1], rtol=1e-6)


def test_what_is_missing_is_named():
  outputs, batch = _example(4)
  with pytest.raises(ValueError, match='targets=None'):
    dense.loss(outputs, batch.replace(targets=None))
  with pytest.raises(ValueError, match='quality=None'):
    dense.decode(outputs.replace(quality=None), batch)
  with pytest.raises(ValueError, match='hold 192 regions'):
    dense.decode(outputs.replace(level_sizes=_SIZES[:1]), batch)


def test_detections_equal_the_reference_post_processor(golden):
  stored = np.load(golden / 'parts' / 'boxes_ops.npz')
  flat = [
      [
          np.moveaxis(stored[f'pp_{kind}_l{level}'], 1, -1).reshape(
              2, -1, depth
          )
          for level in range(5)
      ]
      for kind, depth in (('reg', 4), ('ctr', 1))
  ]
  deltas, quality = (np.concatenate(x, axis=1) for x in flat)
  logits = np.concatenate([stored[f'pp_dot_l{i}'] for i in range(5)], axis=1)
  spans = np.zeros((2, 8, 16), bool)
  for phrase, tokens in {0: [1, 2], 1: [4], 2: [6, 7, 8], 4: [10]}.items():
    spans[:, phrase, tokens] = True
  outputs = _outputs(logits, deltas, quality[..., 0])
  found = _decode(outputs, _batch(spans))
  for image in range(2):
    _assert_detections(found, image, stored, f'pp_img{image}')


@pytest.mark.parametrize('prompt', ['det', 'grd'])
@pytest.mark.parametrize('model', ['nanoA', 'nanoB', 'nanoL'])
def test_detections_equal_the_reference_models(golden, model, prompt):
  stored = np.load(golden / 'nano' / f'{model}.npz')
  phrases = json.loads(str(stored[f'{prompt}_positive_map_json']))
  spans = np.zeros((2, 3, 32), bool)
  for label, tokens in phrases.items():
    spans[:, int(label) - 1, tokens] = True
  outputs = _outputs(
      stored[f'{prompt}_dot_product_logits_valid'],
      stored[f'{prompt}_bbox_reg'],
      stored[f'{prompt}_centerness'][..., 0],
      sizes=anchor_ops.pyramid_sizes(192, 224),
  )
  size = np.load(golden / 'nano' / 'inputs.npz')['image_sizes_hw']
  found = _decode(outputs, _batch(spans, size=size))
  for image in range(2):
    _assert_detections(found, image, stored, f'{prompt}_dets_img{image}')


def _assert_detections(found, image, stored, key):
  count = len(stored[f'{key}_scores'])
  assert found.valid[image].sum() == count
  np.testing.assert_allclose(
      found.scores[image, :count], stored[f'{key}_scores'], atol=1e-6
  )
  # The reference's end at their last pixel.
  np.testing.assert_allclose(
      found.boxes[image, :count] - np.array([0, 0, 1, 1]),
      stored[f'{key}_boxes'],
      atol=1e-4,
  )
  np.testing.assert_array_equal(
      found.labels[image, :count] + 1, stored[f'{key}_labels']
  )


def _naive_decode_all(outputs, batch, image):
  """(boxes, scores, labels) of one image, best first."""
  p = 1 / (1 + np.exp(-outputs.logits[image].astype(float)))
  centered = 1 / (1 + np.exp(-outputs.quality[image].astype(float)))
  found, start = [], 0
  for height, width in _SIZES:
    level = []
    for r in range(start, start + height * width):
      for c, span in enumerate(batch.prompt.spans[image]):
        if outputs.valid[image, r] and span.any():
          level.append((-p[r, span].mean() * centered[r], r, c))
    found += sorted(level)[:_PER_LEVEL]
    start += height * width
  scores, regions, labels = map(np.array, zip(*found, strict=True))
  last = np.tile(batch.size[image][::-1] - 1, 2)
  boxes = np.clip(outputs.boxes[image][regions], 0, last)
  scores = np.sqrt(-scores)
  kept = naive_boxes.non_max_suppression(
      boxes, scores, labels, np.ones(len(labels), bool), 0.5
  )[:_LIMIT]
  return boxes[kept] + _pixel(batch, image), scores[kept], labels[kept]


def test_detections_equal_a_loop_where_the_limits_bind():
  outputs, batch = _example(5)
  batch.prompt.spans[:, 1] = False
  batch.prompt.spans[1, 2:] = False
  found = _decode_all(outputs, batch)
  for image in range(2):
    boxes, scores, labels = _naive_decode_all(outputs, batch, image)
    count = len(scores)
    assert (count == _LIMIT) == (image == 0)
    np.testing.assert_array_equal(found.valid[image], np.arange(_LIMIT) < count)
    np.testing.assert_allclose(found.boxes[image, :count], boxes, atol=1e-4)
    np.testing.assert_allclose(found.scores[image, :count], scores, atol=1e-6)
    np.testing.assert_array_equal(found.labels[image, :count], labels)
    np.testing.assert_array_equal(found.scores[image, count:], 0.0)
    np.testing.assert_array_equal(found.boxes[image, count:], 0.0)


def test_permuting_the_phrases_permutes_the_labels():
  outputs, batch = _example(6)
  found = _decode(outputs, batch)
  order = np.random.default_rng(0).permutation(8)
  prompt = batch.prompt.replace(spans=batch.prompt.spans[:, order])
  permuted = _decode(outputs, batch.replace(prompt=prompt))
  labels = np.where(found.valid, order[permuted.labels], 0)
  np.testing.assert_array_equal(labels, found.labels)
  np.testing.assert_array_equal(permuted.boxes, found.boxes)


def test_regions_outside_and_phrases_without_tokens_are_never_detected():
  outputs, batch = _example(7)
  assert _decode_all(outputs, batch).valid.all()
  batch.prompt.spans[0] = False
  outputs.valid[1] = False
  assert not _decode_all(outputs, batch).valid.any()


def test_an_unknown_object_is_one_that_matches_no_phrase():
  outputs, batch = _example(7)
  outputs.logits[:] = -20.0
  outputs.quality[:] = -20.0
  outputs.quality[0, 3] = 20.0
  outputs.logits[0, 3] = 20.0  # Centred, and named.
  outputs.quality[1, 5] = 20.0  # Centred, and matches nothing.
  outputs.valid[:] = True
  batch.prompt.spans[:, 0, 1] = True
  found = jax.jit(functools.partial(dense.decode, unknown=True))(outputs, batch)
  assert found.labels[0, 0] >= 0 and found.scores[0, 0] > 0.99
  assert found.labels[1, 0] == -1 and found.scores[1, 0] > 0.99
  shown = found.valid & (found.scores > 0.5)
  # An object that a phrase names is not unknown.
  assert (found.labels[0][shown[0]] >= 0).all()
  assert shown[1].sum() == 1


def test_objective_can_run_under_shard_map():
  example = jax.tree.map(jnp.asarray, _example(8))
  auto = jax.sharding.AxisType.Auto
  mesh = jax.make_mesh((1,), ('data',), axis_types=(auto,))
  spec = jax.sharding.PartitionSpec('data')
  for function in (dense.decode, dense.loss_sums):
    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=(spec, spec), out_specs=spec
    )
    expected = jax.eval_shape(function, *example)
    assert jax.eval_shape(mapped, *example) == expected
