"""The sets of ODinW as a source."""

import json
import pathlib

import pytest
from PIL import Image

from glip_jax.data.sources import table
from glip_jax.data.sources.odinw import OdinwSource
from glip_jax.data.sources.odinw_sets import ODINW
from glip_jax.data.sources.selection import Selection
from glip_jax.errors import UserError

FILE = 'annotations_without_background.json'


def _write(folder, file=FILE, count=2, name='thing'):
  """A file of one image with a box of each class, as Roboflow calls them."""
  folder.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', (40, 30)).save(folder / 'a.jpg')
  boxes = [
      {'id': n, 'image_id': 0, 'category_id': n, 'bbox': [n % 30, 0, 9, 9]}
      for n in range(1, count + 1)
  ]
  categories = [
      {'id': n, 'name': f'{name} {n}', 'supercategory': 'things'}
      for n in range(count + 1)
  ]
  content = {
      'images': [{'id': 0, 'file_name': 'a.jpg', 'height': 30, 'width': 40}],
      'annotations': boxes,
      'categories': categories,
  }
  (folder / file).write_text(json.dumps(content))


def _open(folder, dataset, **arguments):
  return OdinwSource(
      directory=folder, dataset=dataset, bad_records='raise', **arguments
  )


def test_the_table_has_the_35_sets_of_the_original(shared):
  path = shared / 'data' / 'annotation_samples' / 'odinw_35_all.json'
  found = [pathlib.Path(name).stem for name in json.loads(path.read_text())]
  assert len(found) == len(ODINW) == 35
  for name in ODINW:
    assert sum(stem.startswith(name) for stem in found) == 1


def test_13_sets_are_marked_and_four_have_a_prompt():
  assert sum(row.in_13 for row in ODINW.values()) == 13
  prompted = {name for name, row in ODINW.items() if row.prompt}
  assert prompted == {'Aquarium', 'EgoHands_generic', 'Packages', 'pothole'}
  for row in ODINW.values():
    assert len(row.prompt) in (0, len(row.names))


@pytest.mark.parametrize(
    'name, count',
    [
        ('AmericanSignLanguageLetters', 26),
        ('ChessPieces', 13),
        ('OxfordPets_by-breed', 37),
        ('PascalVOC', 20),
        ('UnoCards', 15),
        ('boggleBoards', 36),
        ('openPoetryVision', 43),
        ('plantdoc', 30),
        ('selfdrivingCar', 11),
    ],
)
def test_sets_have_as_many_classes_as_the_original(name, count):
  assert len(ODINW[name].names) == count


@pytest.mark.parametrize('name', ODINW)
def test_every_set_opens_by_its_name_alone(tmp_path, name):
  row = ODINW[name]
  file = f'val_{FILE}' if row.is_export else FILE
  parts = {'val': 'valid', 'minival': 'mini_val'}
  folder = tmp_path / row.folder
  if not row.is_export:
    folder /= parts[row.evaluated]
  _write(folder, file, count=len(row.names))
  source = _open(tmp_path, name)
  names = dict.fromkeys(n.strip() for n in row.names if n.strip())
  assert source.names == tuple(names)
  assert len(source[0].boxes) == len([n for n in row.names if n.strip()])


def test_classes_are_named_by_their_ids_as_glip_names_them(tmp_path):
  folder = tmp_path / ODINW['NorthAmericaMushrooms'].folder
  _write(folder / 'train', '_annotations.coco.json', name='mushroom')
  spec = {
      'source': 'odinw',
      'directory': str(tmp_path),
      'dataset': 'NorthAmericaMushrooms',
      'split': 'train',
  }
  source = table.open_source(spec, bad_records='raise')
  assert source.names == ('flat mushroom', 'yellow mushroom')
  assert [source.category_id(label) for label in range(2)] == [1, 2]
  assert source[0].phrase.tolist() == [0, 1]


def test_a_split_of_a_few_images_has_a_file_of_its_own(tmp_path):
  _write(tmp_path / 'pothole' / 'train', 'fewshot_train_shot5_seed30.json', 1)
  assert len(_open(tmp_path, 'pothole', split='train_5_30')) == 1
  folder = tmp_path / ODINW['dice'].folder
  _write(folder, 'fewshot_val_shot1_seed3.json')
  assert len(_open(tmp_path, 'dice', split='val_1_3')) == 1


def test_the_test_images_of_voc_are_those_of_val(tmp_path):
  _write(tmp_path / 'PascalVOC' / 'valid')
  assert len(_open(tmp_path, 'PascalVOC', split='test')) == 1


def test_boxes_of_the_class_without_a_name_are_told_and_dropped(tmp_path):
  _write(tmp_path / ODINW['ChessPieces'].folder / 'valid')
  source = _open(tmp_path, 'ChessPieces')
  assert source.category_id(0) == 2 and source.names[0] == 'black bishop'
  assert len(source[0].boxes) == 1
  assert source.report.counts == {'box of the class without a name, dropped': 1}


def test_a_published_prompt_marks_the_names_in_a_sentence(tmp_path):
  _write(tmp_path / ODINW['Aquarium'].folder / 'valid', count=7)
  source = _open(tmp_path, 'Aquarium', published_prompt=True)
  text = source.text(0)
  assert text.caption == (
      ' fish. jellyfish. penguin , which is black and white. puffin with orange'
      ' beaks . shark. starfish. stingray which is flat and round'
  )
  assert text.phrases == source.names
  record = source[0]
  assert record.is_list and record.text == text
  assert not _open(tmp_path, 'Aquarium').text(0).pieces


@pytest.mark.parametrize(
    'name, selected', [('dice', {}), ('Packages', {'names': ('package',)})]
)
def test_a_prompt_that_is_not_published_is_refused(tmp_path, name, selected):
  _write(tmp_path / ODINW[name].folder, f'val_{FILE}', count=1)
  _write(tmp_path / ODINW[name].folder / 'valid', count=1)
  with pytest.raises(UserError, match='no published_prompt.*Aquarium, EgoHa'):
    _open(
        tmp_path, name, published_prompt=True, selection=Selection(**selected)
    )


@pytest.mark.parametrize(
    'name, split, message',
    [
        ('Aqarium', '', "dataset='Aqarium' is not in ODinW.*'Aquarium'"),
        ('Raccoon', 'valid', "split='valid' is none of train, val, test, tra"),
        ('Raccoon', 'minival', "split='minival' is none of train, val, test"),
        ('PKLot', 'x', 'is none of train, val, test, minival, train_10_3'),
        ('Raccoon', '', "has no 'Raccoon/Raccoon.v2-raw.coco/valid/annot.*giv"),
        ('Raccoon', 'train_2_3', "train/fewshot_train_shot2_seed3.json'"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path, name, split, message):
  with pytest.raises(UserError, match=message) as caught:
    _open(tmp_path, name, split=split)
  assert '\n' not in str(caught.value)
