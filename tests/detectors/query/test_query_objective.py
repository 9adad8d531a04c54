"""The set loss and the decoding of queries, against plain loops."""

import dataclasses

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import query_batches
from scipy import optimize, special

from glip_jax import types
from glip_jax.detectors.query import classes, decoding, objective

QUERIES, LAYERS = 6, 3
NONE = query_batches.NUM_PHRASES  # Index of the class 'none'.
WEIGHTS = dict(
    match_class=2.0,
    box_weight=5.0,
    giou_weight=2.0,
    none_weight=0.1,
    object_weight=3.0,
)
sums_of = compiling.quick_jit(objective.loss_sums)
loss_of = compiling.quick_jit(
    lambda outputs, batch: objective.loss(outputs, batch, **WEIGHTS)
)


def _outputs(batch, seed=0, *, objectness=True):
  """Random outputs of all layers, those of an image drawn from its id."""

  def layer(i):
    rows = []
    for image, (h, w) in zip(batch.id, batch.size, strict=True):
      rng = np.random.default_rng([seed, i, image])
      corners = np.sort(rng.uniform(-0.1, 1.1, (QUERIES, 2, 2)), axis=1)
      tokens = rng.normal(size=(QUERIES, query_batches.NUM_TOKENS))
      rows.append(
          types.Outputs(
              logits=tokens.astype(np.float32),
              boxes=(corners * [w, h]).reshape(-1, 4).astype(np.float32),
              quality=rng.normal(size=QUERIES).astype(np.float32),
              anchors=None,
              valid=np.ones(QUERIES, bool),
              objectness=rng.normal(size=QUERIES).astype(np.float32),
          )
      )
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *rows)
    return stacked if objectness else stacked.replace(objectness=None)

  *auxiliary, last = [layer(i) for i in range(LAYERS)]
  return last.replace(auxiliary=tuple(auxiliary))


def _change_targets(batch, **changes):
  return batch.replace(targets=batch.targets.replace(**changes))


def _classes(outputs, batch, row):
  """Probabilities of phrases and none, by loops."""
  logits = np.asarray(outputs.logits[row], np.float64)
  columns = [
      logits[:, span].mean(axis=1) if span.any() else np.full(QUERIES, -np.inf)
      for span in batch.prompt.spans[row]
  ]
  columns.append(np.asarray(outputs.quality[row], np.float64))
  return special.softmax(np.stack(columns, axis=1), axis=1)


def _giou(a, b):
  inter = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
  hull = np.prod(np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2]))
  area = lambda box: np.prod(box[2:] - box[:2])
  union = area(a) + area(b) - np.prod(inter)
  return np.prod(inter) / union - (hull - union) / hull


def _distance(a, b, size):
  centred = lambda x: np.r_[(x[:2] + x[2:]) / 2, x[2:] - x[:2]]
  return np.abs((centred(a) - centred(b)) / size[[1, 0, 1, 0]]).sum()


def _plain_layer(outputs, batch):
  """Sums of one layer over all images, by loops: the names of the loss."""
  total = dict(label=0.0, weight=0.0, box=0.0, giou=0.0, object=0.0)
  for row, size in enumerate(batch.size):
    targets = jax.tree.map(lambda x: x[row], batch.targets)  # noqa: B023
    classes = _classes(outputs, batch, row)
    boxes = np.asarray(outputs.boxes[row], np.float64)
    truths = np.flatnonzero(targets.valid & ~targets.crowd)
    labels = {
        m: targets.phrase[m] if targets.phrase[m] >= 0 else NONE for m in truths
    }
    cost = [
        [
            5 * _distance(boxes[q], targets.boxes[m], size)
            - 2 * _giou(boxes[q], targets.boxes[m])
            - 2 * classes[q, labels[m]]
            for m in truths
        ]
        for q in range(QUERIES)
    ]
    pairs = optimize.linear_sum_assignment(
        np.reshape(cost, (QUERIES, len(truths)))
    )
    label, is_object = np.full(QUERIES, NONE), np.zeros(QUERIES)
    for q, m in zip(*pairs, strict=True):
      label[q], is_object[q] = labels[truths[m]], 1
      truth = targets.boxes[truths[m]]
      total['box'] += _distance(boxes[q], truth, size)
      total['giou'] += 1 - _giou(boxes[q], truth)
    weight = np.where(label == NONE, 0.1, 1.0)
    total['label'] -= weight @ np.log(classes[np.arange(QUERIES), label])
    total['weight'] += weight.sum()
    x = np.asarray(outputs.objectness[row], np.float64)
    total['object'] += np.logaddexp(0, np.where(is_object, -x, x)).sum()
  return total


def _hard_batch():
  """Three images, in which are a crowd and an object without a phrase."""
  batch = query_batches.batch([0, 1, 2])
  phrase, crowd = batch.targets.phrase.copy(), batch.targets.crowd.copy()
  phrase[1, 0], crowd[2, 1] = -1, True
  return _change_targets(batch, phrase=phrase, crowd=crowd)


def test_the_loss_is_that_of_plain_loops():
  batch = _hard_batch()
  outputs = _outputs(batch)
  total, parts = loss_of(outputs, batch)
  layers = [_plain_layer(x, batch) for x in (*outputs.auxiliary, outputs)]
  count = 1 + 2 + 2
  each = [
      dict(
          loss_class=x['label'] / x['weight'],
          loss_box=5 * x['box'] / count,
          loss_giou=2 * x['giou'] / count,
          loss_object=3 * x['object'] / count,
      )
      for x in layers
  ]
  want = each[-1] | {
      'loss_auxiliary': sum(sum(x.values()) for x in each[:-1]),
      'num_boxes': count,
  }
  assert set(parts) == set(want)
  for name, value in want.items():
    np.testing.assert_allclose(parts[name], value, rtol=1e-5, err_msg=name)
  parts.pop('num_boxes')
  np.testing.assert_allclose(total, sum(parts.values()), rtol=1e-6)


def test_the_loss_of_groups_is_the_mean_of_theirs():
  batch = _hard_batch()
  first, second = _outputs(batch), _outputs(batch, seed=1)
  both = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), first, second)
  total, parts = compiling.quick_jit(
      lambda outputs, batch: objective.loss(
          outputs, batch, num_groups=2, **WEIGHTS
      )
  )(both, batch)
  alone = [loss_of(outputs, batch)[1] for outputs in (first, second)]
  assert not np.allclose(alone[0]['loss_box'], alone[1]['loss_box'], rtol=0.01)
  for name, value in parts.items():
    want = (alone[0][name] + alone[1][name]) / 2
    np.testing.assert_allclose(value, want, rtol=1e-5, err_msg=name)
  np.testing.assert_allclose(
      total, sum(parts.values()) - parts['num_boxes'], rtol=1e-6
  )


def test_neither_order_nor_padding_nor_batch_change_what_an_image_adds():
  batch = _hard_batch()
  outputs = _outputs(batch)
  want = sums_of(outputs, batch)
  order = np.array([2, 0, 3, 1])
  shuffled = batch.replace(
      targets=jax.tree.map(lambda x: x[:, order], batch.targets)
  )
  longer = jax.tree.map(
      lambda x: np.pad(x, [(0, 0), (0, 3)] + [(0, 0)] * (x.ndim - 2)),
      batch.targets,
  )
  for other in (shuffled, batch.replace(targets=longer)):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        want,
        sums_of(outputs, other),
    )
  alone = jax.tree.map(lambda x: x[1:2], (outputs, batch))
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a[:, :, 1:2], b, rtol=1e-5),
      want,
      sums_of(*alone),
  )
  assert np.ptp(np.asarray(want.label), axis=-1).min() > 0.01


@pytest.mark.parametrize('what', ['padding', 'crowds', 'too many'])
def test_the_gradient_is_finite_whatever_there_is_to_learn(what):
  batch = _hard_batch()
  everywhere = np.ones_like(batch.targets.valid)
  if what == 'padding':
    batch = _change_targets(batch, valid=~everywhere)
  elif what == 'crowds':
    batch = _change_targets(batch, crowd=everywhere)
  else:  # Two queries for four boxes, all of one place.
    boxes = np.ones_like(batch.targets.boxes)
    batch = _change_targets(batch, valid=everywhere, boxes=boxes)
  outputs = _outputs(batch)
  if what == 'too many':
    outputs = jax.tree.map(lambda x: x[:, :2], outputs)

  def total(floats):
    changed = dataclasses.replace(outputs, **floats)
    return objective.loss(changed, batch)[0]

  names = ('logits', 'boxes', 'quality', 'objectness')
  value, grads = jax.value_and_grad(total)(
      {name: getattr(outputs, name) for name in names}
  )
  assert np.isfinite(value)
  assert all(np.isfinite(x).all() for x in grads.values())
  assert np.abs(grads['quality']).max() > 0
  is_learnt = np.abs(grads['boxes']).max() > 0
  assert is_learnt == (what == 'too many')


def test_a_phrase_without_tokens_is_no_class():
  batch = query_batches.batch([0, 1])
  outputs = _outputs(batch)
  chances = np.exp(
      classes.log_probabilities(outputs, jnp.asarray(batch.prompt.spans))
  )
  for row in range(2):
    np.testing.assert_allclose(
        chances[row], _classes(outputs, batch, row), rtol=1e-5, atol=1e-7
    )
  assert (chances[0, :, 2:NONE] == 0).all()
  # A box of such a phrase is an object that nothing names.
  lost = _change_targets(batch, phrase=np.full_like(batch.targets.phrase, 3))
  unnamed = _change_targets(
      batch, phrase=np.full_like(batch.targets.phrase, -1)
  )
  lost, unnamed = (sums_of(outputs, x) for x in (lost, unnamed))
  jax.tree.map(np.testing.assert_array_equal, lost, unnamed)
  assert np.isfinite(lost.label).all()


def test_detections_are_the_best_pairs_clipped_to_the_image():
  batch = query_batches.batch([0, 1])
  outputs = _outputs(batch)
  found = decoding.decode(
      outputs, batch, score_threshold=0.1, max_detections=30
  )
  for row, size in enumerate(batch.size):
    classes = _classes(outputs, batch, row)[:, :NONE]
    want = sorted(
        ((s, q, c) for (q, c), s in np.ndenumerate(classes) if s >= 0.1),
        reverse=True,
    )
    k = int(found.valid[row].sum())
    assert found.valid[row, :k].all()
    assert 0 < k == len(want) < 30
    scores, queries, labels = zip(*want, strict=True)
    np.testing.assert_allclose(found.scores[row, :k], scores, rtol=1e-5)
    assert found.labels[row, :k].tolist() == list(labels)
    edges = size[[1, 0, 1, 0]]
    boxes = np.clip(np.asarray(outputs.boxes[row]), 0, edges)
    np.testing.assert_allclose(found.boxes[row, :k], boxes[list(queries)])
    assert not np.any(found.boxes[row, k:])
  assert (outputs.boxes < 0).any()


@pytest.mark.parametrize('head', [False, True])
def test_an_unknown_object_is_one_that_matches_no_phrase(head):
  batch = query_batches.batch([0])
  outputs = _outputs(batch, objectness=head)
  # Query 0 is the first phrase's, query 1 nothing's, query 2 any's.
  logits = np.zeros_like(outputs.logits)
  logits[0, 0, batch.prompt.spans[0, 0]] = 9.0
  quality = jnp.array([[-9.0, 9.0, -9.0, 9.0, 9.0, 9.0]])
  outputs = outputs.replace(logits=jnp.asarray(logits), quality=quality)
  if head:  # To which query 1 is an object too.
    objects = jnp.array([[9.0, 9.0, 9.0, -9.0, -9.0, -9.0]])
    outputs = outputs.replace(objectness=objects)
  found = decoding.decode(
      outputs, batch, unknown=True, score_threshold=0.3, max_detections=5
  )
  unknown = np.asarray(found.valid & (found.labels == -1))[0]
  boxes = np.asarray(found.boxes)[0, unknown]
  want = np.clip(outputs.boxes, 0, batch.size[0, [1, 0, 1, 0]])[0]
  want = want[[1, 2] if head else [2]]
  assert sorted(boxes.tolist()) == sorted(want.tolist())
  named = decoding.decode(outputs, batch, score_threshold=0.3)
  assert (np.asarray(named.labels)[0] >= 0).all()
  assert named.scores[0, 0] > 0.99


def test_what_the_loss_needs_is_named():
  batch = query_batches.batch([0])
  outputs = _outputs(batch)
  with pytest.raises(ValueError, match='batch.targets=None'):
    objective.loss(outputs, batch.replace(targets=None))
  with pytest.raises(ValueError, match='outputs.quality=None'):
    decoding.decode(outputs.replace(quality=None), batch)
