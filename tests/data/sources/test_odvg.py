"""ODVG files as a source: lists, sentences, and both."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from glip_jax.data.sources import table
from glip_jax.data.sources.odvg import open_odvg
from glip_jax.data.sources.protocol import is_detection
from glip_jax.data.sources.selection import Selection
from glip_jax.errors import UserError

CAPTION = 'A Dog chases the dogs and a cat'


def _list(file='a.png', *instances, **size):
  """A record of detection; by default of a person in the whole image."""
  instances = instances or [_instance([0, 0, 40, 30], 0, 'person')]
  detection = {'instances': list(instances)}
  return {'filename': file, **size, 'detection': detection}


def _instance(box, label, category):
  return {'bbox': box, 'label': label, 'category': category}


def _sentence(*regions, file='b.png', caption=CAPTION):
  return {
      'filename': file,
      'height': 30,
      'width': 40,
      'grounding': {'caption': caption, 'regions': list(regions)},
  }


def _region(phrase, box=(1, 2, 9, 9), **more):
  return {'bbox': list(box), 'phrase': phrase, **more}


@pytest.fixture
def odvg(tmp_path):
  """Opens a file of these records."""
  for name in 'abcd':
    Image.new('RGB', (40, 30)).save(tmp_path / f'{name}.png')

  def open_file(*records, bad_records='raise', label_map=None, **selected):
    path = tmp_path / 'odvg.jsonl'
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text('\n'.join(lines))
    given = {}
    if label_map is not None:
      given['label_map'] = tmp_path / 'label_map.json'
      given['label_map'].write_text(json.dumps(label_map))
    return open_odvg(
        annotations=path,
        images=tmp_path,
        selection=Selection(**selected),
        bad_records=bad_records,
        **given,
    )

  return open_file


def test_records_of_detection_alone_are_a_detection_source(odvg):
  source = odvg(
      _list('a.png', _instance([1, 2, 11, 22], 3, 'dog'), height=30, width=40),
      _list('b.png', _instance([0, 0, 9.5, 9], 0, 'hot_dog')),
      {'filename': 'c.png', 'detection': {'instances': []}},
  )
  assert is_detection(source) and source.names == ('hot_dog', 'dog')
  assert source.category_id(1) == 3
  np.testing.assert_array_equal(source[0].boxes, [[1, 2, 11, 22]])
  assert [source.image_id(n) for n in range(3)] == [0, 1, 2]
  assert source.num_boxes().tolist() == [1, 1, 0]
  assert source[0].is_list and source[0].phrase.tolist() == [1]


def test_a_label_map_names_the_classes(odvg, tmp_path):
  label_map = {'2': 'cup', '0': 'person', '1': 'dog'}
  named = _instance([1, 2, 3, 4], None, 'dog')
  other = _instance([1, 2, 3, 4], 2, 'mug')
  source = odvg(_list(), _list('b.png', named, other), label_map=label_map)
  assert source.names == ('person', 'dog', 'cup')
  assert source[1].phrase.tolist() == [1, 2]
  assert source.report.counts == {
      'category that is not the name of its label': 1
  }
  spec = {
      'annotations': str(tmp_path / 'odvg.jsonl'),
      'images': str(tmp_path),
      'label_map': str(tmp_path / 'label_map.json'),
      'class_map': (('cup', 'mug'),),
  }
  assert table.open_source(spec).names == ('person', 'dog', 'mug')


def test_records_of_grounding_are_sentences(odvg):
  source = odvg(
      _sentence(
          _region('a cat', [[1, 2, 9, 9], [3, 3, 5, 6]]),
          _region('A Dog', tokens_positive=[[0, 5]]),
      ),
      _sentence(file='a.png', caption='nothing here'),
  )
  assert not is_detection(source)
  record = source[0]
  assert record.text.caption == CAPTION and not record.is_list
  assert record.text.phrases == ('A Dog', 'a cat')
  assert record.phrase.tolist() == [1, 1, 0]
  np.testing.assert_array_equal(record.boxes[1], [3, 3, 5, 6])
  assert source.num_boxes().tolist() == [3, 0]


@pytest.mark.parametrize(
    'region, phrase',
    [
        (_region('a dog'), 'A Dog'),
        (_region('dogs'), 'dogs'),
        (_region('do'), 'Do'),
        (_region('the  DOGS '), 'the dogs'),
        (_region(['a dog', 'a cat']), 'A Dog a cat'),
        (_region('?', tokens_positive=[[13, 21]]), 'the dogs'),
        (_region('?', tokens_positive=[[2, 5], [13, 16]]), 'Dog the'),
        (_region('?', tokens_positive=[[[2, 5]], [[13, 16]]]), 'Dog the'),
        (_region('?', tokens_positive=-1), CAPTION),
        (_region('a cat', tokens_positive=[]), 'a cat'),
    ],
)
def test_a_phrase_is_its_spans_or_where_its_words_stand(odvg, region, phrase):
  source = odvg(_sentence(region))
  assert source.text(0).phrases == (phrase,)


def test_words_are_found_before_parts_of_words(odvg):
  source = odvg(_sentence(_region('cat'), caption='concatenate the cat'))
  assert source.text(0).spans == (((16, 19),),)


def test_records_of_both_kinds_say_what_they_are(odvg):
  source = odvg(
      _list('a.png'),
      _sentence(_region('a cat')),
      '',
      _list('c.png', _instance([0, 0, 4, 4], 1, 'cup')),
      _sentence(_region('the dogs'), file='a.png'),
  )
  assert not is_detection(source) and len(source) == 4
  assert [source.image_id(n) for n in range(4)] == [0, 1, 3, 4]
  records = list(source)
  assert [record.is_list for record in records] == [True, False, True, False]
  assert [record.index for record in records] == [0, 1, 2, 3]
  assert records[2].text.phrases == ('person', 'cup')
  assert records[2].phrase.tolist() == [1]
  assert source.num_boxes().tolist() == [1, 1, 1, 1]
  assert source.report.kept == {'images': (4, 4), 'boxes': (4, 4)}
  copy = pickle.loads(pickle.dumps(source))
  for index, record in enumerate(records):
    own = copy.truth(index)
    assert own.text == copy.text(index) == record.text
    np.testing.assert_array_equal(own.boxes, record.boxes)
  for index in (-1, 4):
    with pytest.raises(IndexError, match=r'is not in \[0, 4\)'):
      source[index]


def test_what_is_left_of_a_file_is_told_once(odvg, caplog):
  records = _list('a.png'), _sentence(_region('a cow'), _region('a cat'))
  odvg(*records, bad_records='skip')
  (record,) = caplog.records
  assert '2 of 2 images, 2 of 2 boxes are used; 1 x phrase' in record.message


def test_an_image_is_in_one_part_with_all_its_records(odvg):
  records = [_list(f'{name}.png') for name in 'abcd'] + [
      _list('d.png', _instance([0, 0, 4, 4], 1, 'cup')),
      *(_sentence(_region('a cat'), file=f'{name}.png') for name in 'abcd'),
  ]
  files = [record['filename'] for record in records]
  halves = [odvg(*records, part=part) for part in ((0, 0.5), (0.5, 1))]
  found = [
      {files[half.image_id(n)] for n in range(len(half))} for half in halves
  ]
  assert [len(part) for part in found] == [2, 2] and not found[0] & found[1]
  lists = [half[0].text for half in halves]
  assert lists[0] == lists[1] and lists[0].phrases == ('person', 'cup')


@pytest.mark.parametrize(
    'record, kind',
    [
        ('{"filename": "a.p', 'line that is no JSON'),
        ('[' * 200_000, 'line that is no JSON'),
        ('[1]', 'record without detection or grounding'),
        ({'filename': 'a.png'}, 'record without detection or grounding'),
        (
            {'filename': 'a.png', 'detection': []},
            'record without detection or grounding',
        ),
        ({'detection': {}}, 'record without filename'),
        ({'filename': 3, 'detection': {}}, 'record without filename'),
        (
            {'filename': 'b.png', 'detection': {'instances': {}}},
            'record without a list of instances',
        ),
        (
            {'filename': 'b.png', 'detection': {'instances': [None]}},
            'entry that is no dict',
        ),
        (_list('gone.png'), 'missing image'),
        (_list('../a.png'), 'file_name outside the images folder'),
        (_list('b.png', _instance([9, 9, 3, 3], 0, 'person')), 'malformed box'),
        (_list('b.png', _instance([1, 2, 3], 0, 'person')), 'malformed box'),
        (
            _list('b.png', _instance([1, 2, 3, float('nan')], 0, 'person')),
            'malformed box',
        ),
        (
            _list('b.png', _instance([1, 2, 3, 4], 'x', 'person')),
            'box of an unknown class',
        ),
        (_sentence(caption=None), 'image without caption'),
        (_sentence(_region('a cow')), 'phrase that is not in its caption'),
        (_sentence(_region(None)), 'phrase that is not in its caption'),
        (_sentence(_region([])), 'phrase that is not in its caption'),
        (
            _sentence(_region('a cat', tokens_positive=[[9, 2]])),
            'malformed span',
        ),
    ],
)
def test_a_fault_is_counted_or_refused(odvg, record, kind):
  good = _list('a.png'), _sentence(_region('a cat'), file='c.png')
  source = odvg(*good, record, bad_records='skip')
  assert source.report.counts == {kind: 1}
  with pytest.raises(UserError, match=kind) as caught:
    odvg(*good, record)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'records, label_map, message',
    [
        ([''], None, 'no line that is a record .it is empty.'),
        (['{'], None, 'no line that is a record .1 x line that is no JSON'),
        (
            [_list(), _list('b.png', _instance([0, 0, 1, 1], 0, 'man'))],
            None,
            "label 0 is both 'person' and 'man' .line 2 .*give label_map=",
        ),
        (
            [_list('a.png', _instance([0, 0, 9, 9], 0, None))],
            None,
            "no box with a 'label' and a 'category'; give label_map=",
        ),
        ([_list()], {'person': 0}, 'names no class; write names by label'),
        ([_list()], ['person'], 'holds a list'),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    odvg, records, label_map, message
):
  with pytest.raises(UserError, match=message) as caught:
    odvg(*records, label_map=label_map, bad_records='skip')
  assert '\n' not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(UserError, match='cannot be read .*file of JSON lines'):
    open_odvg(annotations=tmp_path / 'gone.jsonl', images=tmp_path)
