"""Training sources as they are opened: what of their boxes is used."""

import itertools
import json

import pytest
from small_world import NUM_IMAGES, config_of, spec_of

from glip_jax import fields
from glip_jax.data import stream
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError
from glip_jax.evaluators import evaluation, runner


def _crowded(world, tmp_path, num_boxes, source):
  """A spec of a file whose first image has so many boxes more."""
  content = json.loads((world / 'good.json').read_text())
  box = content['annotations'][0]
  content['annotations'] += [box] * num_boxes
  path = tmp_path / 'crowded.json'
  path.write_text(json.dumps(content))
  return spec_of(world, source=source) | {'annotations': str(path)}


@pytest.mark.parametrize('source', ['coco', 'mdetr'])
def test_boxes_over_num_boxes_are_told_once_a_source(
    world, tmp_path, source, caplog
):
  spec = _crowded(world, tmp_path, 148, source)
  train = {'a': spec, 'b': spec | {'weight': 2.0}}
  open_training(config_of(train, num_boxes=64))
  (told,) = [r.message for r in caplog.records if 'num_boxes' in r.message]
  assert told == (
      'config.data.train.a: 1 of 7 images have more than num_boxes=64 boxes:'
      ' training leaves out 86 of 162 boxes, the smallest; raise'
      ' config.data.num_boxes to 150'
  )
  caplog.clear()
  open_training(config_of(train, num_boxes=150))
  assert not caplog.records


def test_a_source_that_does_not_count_its_boxes_tells_as_it_reads(caplog):
  spec = {'source': 'shapes', 'split': 'val', 'num_images': 4, 'image_size': 64}
  config = config_of(spec, num_boxes=1, num_phrases=200, num_tokens=999)
  sources = open_training(config)
  batches = stream.train_stream(sources, config, batch_size=2, seed=0)
  list(itertools.islice(iter(batches), 3))
  (told,) = [r.message for r in caplog.records if 'num_boxes' in r.message]
  assert 'is over num_boxes=1, the smallest; raise' in told


@pytest.mark.parametrize('source', ['coco', 'mdetr'])
def test_training_on_negatives_alone_is_refused(world, tmp_path, source):
  content = json.loads((world / 'good.json').read_text())
  path = tmp_path / 'negatives.json'
  path.write_text(json.dumps(content | {'annotations': []}))
  spec = spec_of(world, source=source)
  negatives = spec | {'annotations': str(path)}
  with pytest.raises(UserError, match='data.train: no image has a box to lea'):
    open_training(config_of(negatives))
  open_training(config_of({'a': negatives, 'b': spec}))


@pytest.mark.parametrize(
    'kind, source', [('detection', 'coco'), ('grounding', 'mdetr')]
)
def test_evaluations_tell_and_refuse_as_training_does(
    world, tmp_path, kind, source, caplog
):
  content = json.loads((world / 'good.json').read_text())
  path = tmp_path / 'other.json'
  data = config_of({})
  spec = spec_of(world, source=source) | {'annotations': str(path)}
  told = {'type': kind, 'data': spec}
  evals = {'val': fields.from_dict(runner.Evaluation, told, 'val')}
  for box in content['annotations']:
    box['image_id'] = str(box['image_id'])
  path.write_text(json.dumps(content))
  opened = evaluation.open_sources(evals, data)['val']
  assert [len(opened.truth(n).boxes) for n in range(NUM_IMAGES)] == [2] * 7
  (told,) = [record.message for record in caplog.records]
  assert '14 of 14 boxes are used; 14 x image_id of another type' in told
  for box in content['annotations']:
    box['iscrowd'] = 1
  path.write_text(json.dumps(content))
  refused = 'evals.val.data: .*of 14 boxes none.*14 x crowd'
  with pytest.raises(UserError, match=refused):
    evaluation.open_sources(evals, data)


def test_synonyms_that_a_source_lacks_are_told(world, caplog):
  drawn = {'on': True, 'synonyms': True}
  open_training(config_of(spec_of(world), draw_names=drawn))
  assert [r.message for r in caplog.records] == [
      'draw_names.synonyms=True: the source has none, its names are used'
  ]
