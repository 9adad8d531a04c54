"""Names of files that are nearly those on disk."""

import unicodedata

import pytest
from PIL import Image

from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.listing import Listing
from glip_jax.data.sources.mdetr import MdetrSource
from glip_jax.errors import UserError

NFC = unicodedata.normalize('NFC', 'été')
NFD = unicodedata.normalize('NFD', 'été')


def _find(tmp_path, files, names):
  for file in files:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
  return Listing(str(tmp_path)).find_all(names)


@pytest.mark.parametrize(
    'file, name',
    [
        ('a.jpg', 'a.jpg'),
        ('b/a.jpg', 'b/a.jpg'),
        ('b/a.jpg', 'b\\a.jpg'),
        ('b\\a.jpg', 'b\\a.jpg'),
        (f'{NFD}.jpg', f'{NFC}.jpg'),
        (f'{NFC}.jpg', f'{NFD}.jpg'),
        (f'{NFD}/{NFC}.jpg', f'{NFC}\\{NFD}.jpg'),
        ('a.jpg', 'a.JPG'),
        ('B/A.JPG', 'b/a.jpg'),
        ('a.jpg', 'train2017/a.jpg'),
        ('b/a.jpg', 'data/images/b/a.jpg'),
        ('a.jpg', 'C:\\data\\images\\a.JPG'),
        ('a.jpg', '/home/me/images/a.jpg'),
    ],
)  # pyformat: disable
def test_a_file_is_found_by_what_is_left_of_its_name(tmp_path, file, name):
  found = _find(tmp_path, [file, 'other.jpg'], [name])
  assert found == {name: file}


@pytest.mark.parametrize(
    'name', ['b.jpg', 'a.jpeg', 'b/', '', '\ud800/b.png', '\ud800']
)
def test_what_is_not_there_is_not_found(tmp_path, name):
  assert not _find(tmp_path, ['a.png'], [name])


def test_folders_that_are_there_are_not_dropped(tmp_path):
  files = ['a.jpg', 'train/b.jpg']
  found = _find(tmp_path, files, ['train/a.jpg', 'x/Train/a.jpg', 'x/a.jpg'])
  assert found == {'x/a.jpg': 'a.jpg'}


def test_capitals_that_two_files_differ_in_decide_nothing(tmp_path):
  files = ['a.JPG', 'a.jpg']
  found = _find(tmp_path, files, ['a.JPG', 'a.jpg', 'A.jpg'])
  assert found == {'a.JPG': 'a.JPG', 'a.jpg': 'a.jpg'}


def test_two_names_are_never_given_one_file(tmp_path):
  names = ['train/a.jpg', 'val/a.jpg', 'train/b.jpg', 'b.jpg']
  found = _find(tmp_path, ['a.jpg', 'b.jpg'], names)
  assert found == dict.fromkeys(names[:3], '') | {'b.jpg': 'b.jpg'}


@pytest.mark.parametrize('kind', [CocoSource, MdetrSource])
def test_sources_read_what_is_found_and_tell(folder, content, opened, kind):
  (folder / 'a.png').rename(folder / f'{NFD}.PNG')
  names = f'{NFC}.PNG', 'train/SUB/b.png', '../a.png', 'http://x/a.png'
  content = _captioned(content, names)
  source = opened(content, kind)
  assert [source[i].image.shape[:2] for i in range(2)] == [(30, 40), (50, 20)]
  counts = dict(source.report.counts)
  assert counts.pop('file found by what is left of its name') == 1
  assert counts.pop('file whose accents are composed otherwise, found') == 1
  assert counts.pop('file_name that is a URL') == 1
  assert counts.pop('file_name outside the images folder') == 1
  assert source.report.kept['images'] == (2, 4)


def test_a_single_file_for_several_names_is_a_fault(folder, content, opened):
  Image.new('RGB', (8, 8)).save(folder / 'c.png')
  content = _captioned(content, ('a.png', 'train/c.png', 'val/c.png'))
  source = opened(content)
  assert len(source) == 1
  assert source.report.counts['one of several names of a single file'] == 2
  with pytest.raises(UserError, match='one of several names.*train/c.png'):
    opened(content, bad_records='raise')


def _captioned(content, names):
  """A box in the first of the images of these names."""
  box = {'bbox': [1, 2, 3, 4], 'tokens_positive': [[0, 5]], 'category_id': 0}
  images = [
      {'id': n, 'file_name': name, 'caption': 'truck'}
      for n, name in enumerate(names)
  ]
  return content | {'images': images, 'annotations': [box | {'image_id': 0}]}
