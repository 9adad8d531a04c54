"""YOLO labels as a source."""

import json
import pathlib
import pickle

import numpy as np
import pytest
from PIL import Image

from glip_jax.data.sources import image_list, table
from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.selection import Selection
from glip_jax.data.sources.yolo import YoloSource
from glip_jax.errors import UserError

NAMES = 'names: [cat, hot_dog]\n'


def _image(path, labels=None, size=(40, 20)):
  """An image, and its labels where these are to be."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', size).save(path)
  if labels is not None:
    folder = str(path.parent).replace('images', 'labels')
    file = pathlib.Path(folder) / f'{path.stem}.txt'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(labels)


@pytest.fixture
def folder(tmp_path):
  """Two splits; of the first one image has two boxes and one no labels."""
  _image(
      tmp_path / 'images' / 'train' / 'a.jpg',
      '1 .5 .5 .5 .2\n0 .25 .25 .5 .5\n',
  )
  _image(tmp_path / 'images' / 'train' / 'b.PNG')
  _image(tmp_path / 'images' / 'val' / 'c.jpg', '')
  (tmp_path / 'images' / 'train' / 'notes.md').touch()
  (tmp_path / 'data.yaml').write_text(
      f'path: .\ntrain: images/train\nval: images/val\nnc: 2\n{NAMES}'
  )
  return tmp_path


def test_boxes_are_parts_of_an_image_of_any_size(folder, monkeypatch):
  spec = {'annotations': str(folder / 'data.yaml'), 'split': 'train'}
  with monkeypatch.context() as patched:
    patched.setattr(image_list, 'image_size', pytest.fail)
    source = table.open_source(spec, bad_records='raise')
  assert isinstance(source, YoloSource)
  assert source.names == ('cat', 'hot_dog') and source.category_id(1) == 1
  assert [source.image_id(n) for n in range(2)] == ['a.jpg', 'b.PNG']
  record = source[0]
  want = [[10, 8, 30, 12], [0, 0, 20, 10]]
  np.testing.assert_allclose(record.boxes, want, atol=1e-5)
  assert record.phrase.tolist() == [1, 0]
  assert len(source[1].boxes) == 0
  truth = source.ground_truth()
  xywh = [a['bbox'] for a in truth['annotations']]
  np.testing.assert_allclose(xywh, [[10, 8, 20, 4], [0, 0, 20, 10]])


def test_a_source_survives_pickling(folder):
  source = YoloSource(annotations=folder / 'data.yaml')
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy[0].boxes, source[0].boxes)
  assert copy.ground_truth() == source.ground_truth()


def test_classes_can_be_chosen_and_renamed(folder):
  chosen = Selection(names=('hot_dog',), class_map=(('hot_dog', 'sausage'),))
  source = YoloSource(annotations=folder / 'data.yaml', selection=chosen)
  assert source.names == ('sausage',)
  assert source.ground_truth()['annotations'][0]['category_id'] == 1


@pytest.mark.parametrize(
    'names',
    [
        'names: {1: hot_dog, 0: cat}',
        'names: {"0": cat, "1": hot_dog}',
        'names:\n  - cat\n  - hot_dog',
    ],
)
def test_names_are_a_list_or_by_number(folder, names):
  path = folder / 'data.yaml'
  path.write_text(f'train: images/train\n{names}\n')
  assert YoloSource(annotations=path).names == ('cat', 'hot_dog')


@pytest.mark.parametrize(
    'line, box',
    [
        ('0 .1 .2 .5 .2 .5 .8', [4, 4, 20, 16]),
        ('0 .1 .2 .5 .2 .5 .8 .1 .8', [4, 4, 20, 16]),
        ('0.0 5e-1 .5 .5 .5', [10, 5, 30, 15]),
        ('0 .5 .5 1.2 1.2', [0, 0, 40, 20]),
    ],
)
def test_a_line_is_a_box_or_a_polygon(tmp_path, line, box):
  _image(tmp_path / 'images' / 'a.jpg', line)
  path = tmp_path / 'data.yaml'
  path.write_text(f'train: images\n{NAMES}')
  (found,) = YoloSource(annotations=path, bad_records='raise')[0].boxes
  np.testing.assert_allclose(found, box, atol=1e-5)


def test_key_points_behind_a_box_are_not_read(tmp_path):
  _image(tmp_path / 'images' / 'a.jpg', '0 .5 .5 .5 .5 .9 .9 2 .1 .1 0')
  path = tmp_path / 'data.yaml'
  path.write_text(f'train: images\nkpt_shape: [2, 3]\n{NAMES}')
  (found,) = YoloSource(annotations=path)[0].boxes
  np.testing.assert_allclose(found, [10, 5, 30, 15], atol=1e-5)


@pytest.mark.parametrize(
    'text, kind',
    [
        ('0 .5 .5 .5', 'line that is no label'),
        ('0 .5 .5 .5 .5 .5', 'line that is no label'),
        ('cat .5 .5 .5 .5', 'line that is no label'),
        ('0 .5 .5 nan .5', 'line that is no label'),
        ('0 .5 .5 -.5 .5', 'malformed box'),
        ('2 .5 .5 .5 .5', 'box of an unknown class'),
        ('0.5 .5 .5 .5 .5', 'box of an unknown class'),
        ('0 .5 .5 0 .5', 'box of no area, dropped'),
        ('0 3 .5 .5 .5', 'box outside its image'),
        ('0 .5 .5 1.5 .5', 'box that leaves its image, clipped'),
    ],
)
def test_a_fault_is_counted_and_named_by_its_line(folder, text, kind):
  file = folder / 'labels' / 'train' / 'a.txt'
  file.write_text(f'\n0 .5 .5 .5 .5\n{text}\n')
  report = YoloSource(annotations=folder / 'data.yaml').report
  assert report.counts == {kind: 1}
  assert f'{file} line 3' in report.names[kind][0]


def test_labels_of_no_text_are_a_fault(folder):
  (folder / 'labels' / 'train' / 'b.txt').write_bytes(b'\xff\xfe\x80')
  report = YoloSource(annotations=folder / 'data.yaml').report
  assert report.counts == {'labels that cannot be read': 1}
  with pytest.raises(UserError, match='labels that cannot be read: .*b.txt'):
    YoloSource(annotations=folder / 'data.yaml', bad_records='raise')


@pytest.mark.parametrize('above', ['set', 'images/set'])
def test_labels_stand_beside_images_where_no_folder_is_called_so(
    tmp_path, above
):
  tmp_path = tmp_path / above
  _image(tmp_path / 'all' / 'a.jpg')
  (tmp_path / 'all' / 'a.txt').write_text('0 .5 .5 .5 .5')
  (tmp_path / 'data.yaml').write_text(f'train: all\n{NAMES}')
  source = YoloSource(annotations=tmp_path / 'data.yaml')
  assert source.num_boxes().tolist() == [1]


def test_an_export_of_roboflow_opens_as_it_is(tmp_path):
  for split in ('train', 'valid'):
    _image(tmp_path / split / 'images' / 'a_jpg.rf.1.jpg', '0 .5 .5 .5 .5\n')
  path = tmp_path / 'data.yaml'
  path.write_text(
      'train: ../train/images\nval: ../valid/images\ntest: ../test/images\n'
      "nc: 2\nnames: ['cat', 'hot_dog']\nroboflow:\n  version: 1\n"
  )
  for split in ('train', 'val', 'valid'):
    source = YoloSource(annotations=path, split=split, bad_records='raise')
    assert source.num_boxes().tolist() == [1]
  with pytest.raises(UserError, match="'../test/images' is neither in"):
    YoloSource(annotations=path, split='test')


def test_a_split_is_of_several_folders_and_lists(folder):
  lines = './images/val/c.jpg', '/home/me/set/images/train/b.PNG', 'gone.jpg'
  (folder / 'more.txt').write_text('\n'.join(lines))
  (folder / 'data.yaml').write_text(
      f'path: /datasets/set\ntrain: [images/train, more.txt]\n{NAMES}'
  )
  source = YoloSource(annotations=folder / 'data.yaml')
  ids = [source.image_id(n) for n in range(len(source))]
  want = ['images/train/a.jpg', 'images/train/b.PNG', 'images/val/c.jpg']
  assert ids == want
  assert source.report.counts == {'missing image': 1}
  assert source.report.names['missing image'] == ["gone.jpg 'gone.jpg'"]


@pytest.mark.parametrize(
    'text, message',
    [
        ('names: [a', 'is not valid YAML .*expected'),
        ('- a', "has no 'names'; list the names"),
        ('', "has no 'names'"),
        ('names: !!python/object/apply:os.getcwd []', 'is not valid YAML'),
        ('names: cat\ntrain: images/train', "names='cat' must be a list of na"),
        ("names: [' ']\ntrain: images/train", 'names no class; fill in'),
        (f'val: images/val\n{NAMES}', "split='train' is no .* there are val"),
        (f'train: images/gone\n{NAMES}', "'images/gone' is neither in"),
        (f'train: labels\n{NAMES}', 'has no image; check its folders'),
        (
            f'train: alone\n{NAMES}',
            'no image has labels; put the first .*alone',
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(folder, text, message):
  _image(folder / 'alone' / 'a.jpg')
  (folder / 'data.yaml').write_text(text)
  with pytest.raises(UserError, match=message) as caught:
    YoloSource(annotations=folder / 'data.yaml')
  assert '\n' not in str(caught.value)


def test_names_that_grow_by_reference_are_a_fault_and_take_no_room(folder):
  path = folder / 'data.yaml'
  lines = ['l0: &l0 [ha, ha]']
  for n in range(1, 60):
    lines.append(f'l{n}: &l{n} [*l{n - 1}, *l{n - 1}]')
  path.write_text(
      '\n'.join([*lines, 'train: images/train', 'names: [cat, *l59, dog]'])
  )
  source = YoloSource(annotations=path)
  assert source.names == ('cat', 'dog')
  assert source.report.counts['class without number or name'] == 1


def test_paths_may_be_relative_to_where_the_program_runs(folder, monkeypatch):
  monkeypatch.chdir(folder)
  (folder / 'data.yaml').write_text(
      f'path: {folder}\ntrain: [images/train, more.txt]\n{NAMES}'
  )
  (folder / 'more.txt').write_text('images/val/c.jpg')
  assert len(YoloSource(annotations='data.yaml')) == 3


def test_a_file_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(UserError, match='cannot be read .*give the path of a da'):
    YoloSource(annotations=tmp_path / 'data.yaml')


def test_boxes_in_pixels_are_refused_with_the_remedy(folder):
  file = folder / 'labels' / 'train' / 'a.txt'
  file.write_text('0 20 10 8 8\n1 12 3 4 4\n')
  with pytest.raises(UserError, match='all 2 boxes leave 0..1.*divide x and'):
    YoloSource(annotations=folder / 'data.yaml')


def test_a_real_set_written_as_labels_is_the_set_that_it_was(shared, tmp_path):
  own = shared / 'data' / 'coco128'
  coco = CocoSource(annotations=own / 'val.json', images=own / 'images')
  truth = coco.ground_truth()
  sizes = {i['id']: (i['width'], i['height']) for i in truth['images']}
  stems = {i['id']: i['file_name'].rpartition('.')[0] for i in truth['images']}
  numbers = {c['id']: n for n, c in enumerate(truth['categories'])}
  (tmp_path / 'images').symlink_to(own / 'images')
  for box in truth['annotations']:
    (x, y, w, h), size = box['bbox'], sizes[box['image_id']]
    middle = (x + w / 2) / size[0], (y + h / 2) / size[1]
    values = *middle, w / size[0], h / size[1]
    file = tmp_path / 'labels' / f'{stems[box["image_id"]]}.txt'
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('a') as stream:
      print(numbers[box['category_id']], *values, file=stream)
  files = [f'images/{image["file_name"]}' for image in truth['images']]
  (tmp_path / 'val.txt').write_text('\n'.join(files))
  (tmp_path / 'data.yaml').write_text(
      f'val: val.txt\nnames: {json.dumps(coco.names)}\n'
  )
  source = YoloSource(
      annotations=tmp_path / 'data.yaml', split='val', bad_records='raise'
  )
  assert source.names == coco.names and len(source) == len(coco) == 105
  for index in range(len(coco)):
    one, other = source.truth(index), coco.truth(index)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
    np.testing.assert_array_equal(one.phrase, other.phrase)
