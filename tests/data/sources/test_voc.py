"""Pascal VOC folders as a source."""

import pickle

import numpy as np
import pytest
from PIL import Image

from glip_jax.data.sources import table
from glip_jax.data.sources.selection import Selection
from glip_jax.data.sources.voc import VocSource
from glip_jax.data.sources.xml_file import read_xml
from glip_jax.errors import UserError

BOX = (3, 4, 12, 15)


def _object(name='dog', box=BOX, extra=''):
  corners = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
  inside = ''.join(f'<{key}>{value}</{key}>' for key, value in corners)
  return f'<object><name>{name}</name>{extra}<bndbox>{inside}</bndbox></object>'


def _write(folder, stem, *objects, images=None, filename=None, suffix='.jpg'):
  """An XML file, and an image of 40 x 30 of the same name."""
  for each in filter(None, (folder, images)):
    each.mkdir(parents=True, exist_ok=True)
  (folder / f'{stem}.xml').write_text(
      f'<annotation><filename>{filename or stem + suffix}</filename>'
      '<size><width>40</width><height>30</height></size>'
      f'{"".join(objects)}</annotation>'
  )
  Image.new('RGB', (40, 30)).save((images or folder) / f'{stem}{suffix}')


@pytest.fixture
def published(tmp_path):
  """The layout of VOC2007: three images, two of them in a list."""
  folder, images = tmp_path / 'Annotations', tmp_path / 'JPEGImages'
  head = _object('head').replace('object>', 'part>')
  _write(
      folder,
      '000005',
      _object('person', (1, 1, 40, 30), head),
      _object('chair', extra='<difficult>1</difficult>'),
      images=images,
  )
  _write(folder, '000007', _object('aeroplane'), images=images)
  _write(folder, '000009', images=images)
  lists = tmp_path / 'ImageSets' / 'Main'
  lists.mkdir(parents=True)
  (lists / 'train.txt').write_text('000009\n000005\n')
  (lists / 'chair_train.txt').write_text('000005  1\n000007 -1\n\n')
  return tmp_path


def test_a_split_is_that_of_its_list_and_classes_are_those_of_objects(
    published,
):
  spec = {'source': 'voc', 'directory': str(published), 'split': 'train'}
  source = table.open_source(spec, bad_records='raise')
  assert [source.image_id(n) for n in range(2)] == ['000009', '000005']
  assert source.names == ('chair', 'person')
  assert [source.category_id(label) for label in range(2)] == [1, 2]
  whole = VocSource(directory=published)
  assert len(whole) == 3 and whole.names == ('aeroplane', 'chair', 'person')
  other = VocSource(directory=published, split='chair_train')
  assert [other.image_id(n) for n in range(2)] == ['000005', '000007']


def test_corners_count_from_1_and_the_last_pixel_is_in_the_box(published):
  source = VocSource(directory=published)
  record = source[0]
  np.testing.assert_array_equal(record.boxes, [[0, 0, 40, 30], [2, 3, 12, 15]])
  assert [source.names[label] for label in record.phrase] == ['person', 'chair']
  assert record.image.shape == (30, 40, 3)


def test_what_is_difficult_is_ignored_as_a_crowd_is(published):
  source = VocSource(directory=published)
  assert source[0].crowd.tolist() == [False, True]
  crowds = [a['iscrowd'] for a in source.ground_truth()['annotations']]
  assert crowds == [0, 1, 0]


def test_an_export_of_roboflow_is_a_folder_by_split(tmp_path):
  name = 'a_jpg.rf.0d1e'
  _write(tmp_path / 'train', name, _object('cat'))
  _write(tmp_path / 'valid', 'b', _object('dog'), suffix='.png')
  train = VocSource(directory=tmp_path, split='train', bad_records='raise')
  assert train.names == ('cat',) and train.image_id(0) == name
  valid = VocSource(directory=tmp_path / 'valid', bad_records='raise')
  assert valid.names == ('dog',) and valid[0].image.shape == (30, 40, 3)
  with pytest.raises(UserError, match="split='val' in .*are train, valid"):
    VocSource(directory=tmp_path, split='val')


def test_names_give_a_split_the_classes_that_it_has_no_object_of(published):
  names = 'cow', 'Person', 'chair'
  source = VocSource(
      directory=published, split='train', selection=Selection(names=names)
  )
  assert source.names == ('cow', 'person', 'chair')
  assert source.report.names['class that no object has'] == ["'cow'"]
  (note,) = source.report.counts
  assert note == 'class that no object has'


def test_the_image_of_the_same_name_comes_before_the_one_that_is_stated(
    tmp_path,
):
  _write(tmp_path, 'a', _object())
  _write(tmp_path, 'b', _object(), filename='a.jpg')
  _write(tmp_path, 'c', _object(), filename='folder/d.jpg')
  (tmp_path / 'c.jpg').rename(tmp_path / 'd.jpg')
  (tmp_path / 'alone.jpg').touch()
  source = VocSource(directory=tmp_path, bad_records='raise')
  files = [image['file_name'] for image in source.ground_truth()['images']]
  assert files == ['a.jpg', 'b.jpg', 'd.jpg']
  assert source.report.names == {
      'filename of another image than its own': ['b.xml'],
      'image without an XML file, not used': ['alone.jpg', 'd.jpg'],
  }


def test_faults_are_counted_and_refused_where_they_are_to_be(published):
  lists = published / 'ImageSets' / 'Main'
  (lists / 'train.txt').write_text('../../x\n000005\n000001\n000007\n')
  (published / 'Annotations' / '000007.xml').write_text(
      '<annotation><object><name>dog</name></object></annotation>'
  )
  source = VocSource(directory=published, split='train')
  assert source.report.counts == {
      'name in a list that leaves the folder': 1,
      'XML that cannot be read': 1,
      'malformed box': 1,
  }
  with pytest.raises(UserError, match=r"leaves the folder: '\.\./\.\./x'"):
    VocSource(directory=published, split='train', bad_records='raise')


@pytest.mark.parametrize(
    'split, message',
    [
        ('trian', "split='trian' has no list .* there are chair_train, train"),
        ('', r'has no object to take classes from .*name them by names='),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    tmp_path, published, split, message
):
  for path in (published / 'Annotations').iterdir():
    path.write_text('<annotation/>')
  with pytest.raises(UserError, match=message) as caught:
    VocSource(directory=published, split=split)
  assert '\n' not in str(caught.value)


def test_a_folder_that_is_none_or_has_no_file_is_refused(tmp_path):
  with pytest.raises(UserError, match="directory='.*gone' is not a folder"):
    VocSource(directory=tmp_path / 'gone')
  with pytest.raises(UserError, match='no XML file in .* must hold Annotatio'):
    VocSource(directory=tmp_path)


def test_a_source_survives_pickling(published):
  source = VocSource(directory=published)
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy[0].boxes, source[0].boxes)
  assert copy.ground_truth() == source.ground_truth()


BOMB = '<!DOCTYPE a [<!ENTITY b "bbb"><!ENTITY c "&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    'text, message',
    [
        (BOMB, 'document type'),
        ('<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>', 'document type'),
        ('<a>&b;</a>', 'undefined entity'),
        ('<a><b></a>', 'mismatched tag'),
        ('', 'no element found'),
        ('<?xml version="1.0" encoding="klingon"?><a/>', 'unknown encoding'),
        ('<a>\0</a>', 'invalid token'),
    ],
)
def test_xml_holds_data_and_nothing_else(tmp_path, text, message):
  path = tmp_path / 'a.xml'
  path.write_text(text)
  with pytest.raises(UserError, match=message) as caught:
    read_xml(path)
  assert '\n' not in str(caught.value)


def test_xml_that_is_too_large_is_not_read(tmp_path, monkeypatch):
  path = tmp_path / 'a.xml'
  with path.open('wb') as file:
    file.truncate(2**24 + 1)
  with pytest.raises(UserError, match='is over 16777216 bytes'):
    read_xml(path)
  with pytest.raises(UserError, match='No such file'):
    read_xml(tmp_path / 'b.xml')


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'latin-1'])
def test_xml_is_read_in_the_encoding_that_it_states(tmp_path, encoding):
  path = tmp_path / 'a.xml'
  stated = 'iso-8859-1' if encoding == 'latin-1' else encoding[:6].strip('-')
  text = f'<?xml version="1.0" encoding="{stated}"?><a>p\u00e2t\u00e9 &amp;</a>'
  path.write_bytes(text.encode(encoding))
  assert read_xml(path).text == 'p\u00e2t\u00e9 &'
