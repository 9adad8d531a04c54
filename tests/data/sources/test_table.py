"""How a source is chosen and opened."""

import inspect

import ml_collections
import pytest

from glip_jax import fields
from glip_jax.data import specs
from glip_jax.data.sources import table
from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.selection import Selection
from glip_jax.errors import UserError
from glip_jax.shapes.arguments import PROMPTS


def test_annotations_and_images_are_enough(folder, opened):
  opened()
  spec = ml_collections.ConfigDict({
      'source': '',
      'annotations': str(folder.parent / 'file.json'),
      'images': str(folder),
      'names': (),
      'split': 'train',
      'weight': 1.0,
  })
  source = table.open_source(spec, bad_records='raise')
  assert isinstance(source, CocoSource)
  assert source.bad_records == 'raise'


@pytest.mark.parametrize(
    'spec, message',
    [
        ({'source': 'vok'}, "spec.source='vok' must be one of '', 'coco', 'l"),
        ({'source': 'coco'}, "source='coco' needs 'annotations'"),
        ({'images': 'here'}, "source='coco' needs 'annotations'"),
        (
            {'source': 'shapes', 'split': 'train', 'annotations': 'a.json'},
            "'annotations' is no field of source='shapes'",
        ),
        ({}, "source='shapes' needs 'split'"),
        (
            {'split': 'train', 'sede': 1},
            "spec has no field 'sede'; did you mean 'seed'",
        ),
        ({'split': 'train', 'num_images': '3'}, "num_images='3' must be a who"),
        (
            {'split': 'train', 'prompts': {'poem': 1}},
            "spec.prompts has no field 'poem'; it has 'all', 'list'",
        ),
        (
            {'annotations': 'gone.json', 'images': '.'},
            "annotations='gone.json' cannot be read.*No such file",
        ),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(spec, message):
  with pytest.raises(UserError, match=message) as caught:
    table.open_source(spec)
  assert '\n' not in str(caught.value)


def test_bad_records_are_skipped_or_refused_and_nothing_else():
  with pytest.raises(UserError, match="bad_records='no' is not known"):
    table.open_source(
        {'annotations': 'gone.json', 'images': '.'}, bad_records='no'
    )


def test_every_argument_of_every_source_is_a_field_of_a_spec():
  assert tuple(table.SOURCES) == specs.SOURCES
  for opener in table.SOURCES.values():
    arguments = set(inspect.signature(opener).parameters)
    own = arguments - {'bad_records', 'selection'}
    assert own <= set(fields.names(specs.Spec))
  assert set(fields.names(Selection)) <= set(fields.names(specs.Spec))
  assert fields.names(specs.Prompts) == PROMPTS
