"""Flickr30k Entities as a source."""

import pickle

import numpy as np
import pytest
from PIL import Image

from glip_jax.data.sources import table
from glip_jax.data.sources.flickr30k import Flickr30kSource, parse_caption
from glip_jax.data.sources.protocol import is_detection
from glip_jax.errors import UserError

SENTENCES = """\
[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] look at \
[/EN#3/bodyparts their hands] in [/EN#9/scene the yard] .
[/EN#1/people Two men] and [/EN#0/notvisual it] see [/EN#1/people themselves].
"""


def _box(entities, corners):
  names = ''.join(f'<name>{entity}</name>' for entity in entities)
  sides = zip(('xmin', 'ymin', 'xmax', 'ymax'), corners, strict=True)
  inside = ''.join(f'<{key}>{value}</{key}>' for key, value in sides)
  return f'<object>{names}<bndbox>{inside}</bndbox></object>'


SCENE = '<object><name>9</name><scene>1</scene><nobndbox>1</nobndbox></object>'


@pytest.fixture
def entities(tmp_path):
  """Two images as they are published, of 40 x 30, and a folder of images."""
  boxes = (
      _box('1', (1, 1, 20, 30))
      + _box('1', (21, 1, 40, 30))
      + _box('32', (5, 6, 9, 9))
      + SCENE
  )
  contents = {'1000': (SENTENCES, boxes), '2000': ('No mark here .\n', SCENE)}
  for folder in ('Sentences', 'Annotations', 'images'):
    (tmp_path / folder).mkdir()
  for name, (sentences, objects) in contents.items():
    (tmp_path / 'Sentences' / f'{name}.txt').write_text(sentences)
    (tmp_path / 'Annotations' / f'{name}.xml').write_text(
        f'<annotation><filename>{name}.jpg</filename><size><width>40</width>'
        f'<height>30</height><depth>3</depth></size>{objects}</annotation>'
    )
    Image.new('RGB', (40, 30)).save(tmp_path / 'images' / f'{name}.jpg')
  (tmp_path / 'train.txt').write_text('2000\n')
  (tmp_path / 'val.txt').write_text('1000\n')
  return tmp_path


def _open(folder, **arguments):
  return Flickr30kSource(
      directory=folder, images=folder / 'images', **arguments
  )


def test_a_caption_is_a_record_whose_phrases_have_boxes(entities):
  spec = {
      'source': 'flickr30k',
      'directory': str(entities),
      'images': str(entities / 'images'),
      'split': 'val',
  }
  source = table.open_source(spec, bad_records='raise')
  assert not is_detection(source)
  assert [source.image_id(n) for n in range(2)] == ['1000#0', '1000#1']
  record = source[0]
  assert record.text.caption == (
      'Two young guys with shaggy hair look at their hands in the yard .'
  )
  assert record.text.phrases == ('Two young guys', 'shaggy hair', 'their hands')
  assert not record.is_list
  found = [record.boxes[record.phrase == n].tolist() for n in range(3)]
  assert source.phrase_types(0) == (('people',), ('bodyparts',), ('bodyparts',))
  assert found[0] == [[0, 0, 20, 30], [20, 0, 40, 30]]
  assert found[1] == found[2] == [[4, 5, 9, 9]]


def test_an_entity_that_is_named_twice_is_two_phrases(entities):
  record = _open(entities, split='val')[1]
  assert record.text.phrases == ('Two men', 'themselves')
  assert sorted(record.phrase.tolist()) == [0, 0, 1, 1]


def test_all_images_are_read_without_a_split(entities):
  source = _open(entities)
  assert len(source) == 3 and source.num_boxes().tolist() == [4, 4, 0]
  assert source.text(2).phrases == () and not source.report.counts
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy[0].boxes, source[0].boxes)
  assert copy.text(1) == source.text(1)
  assert copy.phrase_types(1) == (('people',), ('people',))
  assert copy.phrase_types(2) == ()


@pytest.mark.parametrize(
    'line, caption, phrases',
    [
        ('no mark', 'no mark', []),
        (
            '[/EN#7/other/people  a  b ] .',
            'a  b .',
            [('7', ('other', 'people'), [0, 4])],
        ),
        (
            '[/EN#12/x/x \u56fe] [/EN#3 b]',
            '\u56fe b',
            [('12', ('x', 'x'), [0, 1]), ('3', (), [2, 3])],
        ),
        ('[/EN#12/people ] x', ' x', []),
        ('a [b] c', 'a [b] c', []),
    ],
)
def test_marks_are_taken_out_of_a_caption(line, caption, phrases):
  assert parse_caption(line) == (caption, phrases)


def test_faults_are_counted_or_refused(entities):
  (entities / 'all.txt').write_text('1000\n2000\n3000\n../1000\n')
  (entities / 'Annotations' / '2000.xml').write_text('<annotation>')
  kinds = {
      'name in a list that leaves the folder': 1,
      'image without sentences or annotations': 2,
  }
  source = _open(entities, split='all')
  assert source.report.counts == kinds and len(source) == 2
  with pytest.raises(UserError, match='leaves the folder'):
    _open(entities, split='all', bad_records='raise')


def test_corners_that_are_none_are_faults_of_each_phrase(entities):
  path = entities / 'Annotations' / '1000.xml'
  path.write_text(path.read_text().replace('<xmax>20<', '<xmax>?<'))
  report = _open(entities).report
  assert report.counts == {'malformed box': 3}
  assert report.names['malformed box'][0] == '1000#0 1000.xml object[0] None'


def test_folders_and_splits_that_are_not_there_are_refused(entities):
  with pytest.raises(UserError, match="split='tset' .* there are train, val"):
    _open(entities, split='tset')
  with pytest.raises(UserError, match='has no folders Sentences and Annot'):
    Flickr30kSource(directory=entities / 'images', images=entities)
