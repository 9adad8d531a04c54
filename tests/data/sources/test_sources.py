"""Sources of records: COCO and MDETR files, TFDS, and how they are chosen."""

import io
import json
import pickle

import ml_collections
import numpy as np
import pytest
from PIL import Image

from glip_jax.data.images import BadImage
from glip_jax.data.sources import table
from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.mdetr import MdetrSource, read_span
from glip_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
  """Two images, one of them in a folder of its own."""
  images = tmp_path / 'images'
  (images / 'sub').mkdir(parents=True)
  Image.new('RGB', (40, 30), (10, 20, 30)).save(images / 'a.png')
  Image.new('L', (20, 50), 99).save(images / 'sub' / 'b.png')
  return images


def _content():
  return {
      'images': [
          {'id': 'x', 'file_name': 'a.png', 'width': 40, 'height': 30},
          {'id': 2**60 + 1, 'file_name': 'sub\\b.png'},
      ],
      'annotations': [
          {'image_id': 2**60 + 1, 'category_id': 90, 'bbox': [1, 2, 3, 4.5]},
          {'image_id': 'x', 'category_id': 0, 'bbox': [-5, 4, 25, 60]},
          {
              'image_id': 'x',
              'category_id': 7,
              'bbox': [0, 0, 40.5, 30],
              'area': 17.25,
              'iscrowd': 1,
          },
      ],
      'categories': [
          {'id': 90, 'name': 'truck'},
          {'id': 0, 'name': 'hot_dog'},
          {'id': 7, 'name': ' T-Shirt '},
      ],
  }  # pyformat: disable


def _open(folder, content=None, kind=CocoSource, **arguments):
  path = folder.parent / 'file.json'
  path.write_text(json.dumps(content or _content()))
  return kind(annotations=path, images=folder, **arguments)


def test_labels_follow_category_ids_and_the_prompt_names_them_all(folder):
  source = _open(folder)
  assert source.names == ('hot_dog', 'T-Shirt', 'truck')
  assert [source.category_id(label) for label in range(3)] == [0, 7, 90]
  assert source[0].text.caption == 'hot dog. T-Shirt. truck'
  assert source[1].phrase.tolist() == [2]


def test_records_hold_upright_rgb_and_clipped_boxes(folder):
  record = _open(folder)[0]
  assert record.image.shape == (30, 40, 3)
  np.testing.assert_array_equal(record.boxes, [[0, 4, 20, 30], [0, 0, 40, 30]])
  assert record.boxes.dtype == np.float32
  assert record.crowd.tolist() == [False, True]
  assert _open(folder)[1].image[0, 0].tolist() == [99, 99, 99]


def test_ground_truth_keeps_ids_and_areas_of_the_file(folder):
  truth = _open(folder).ground_truth()
  assert [image['id'] for image in truth['images']] == ['x', 2**60 + 1]
  assert truth['categories'][1] == {'id': 7, 'name': 'T-Shirt'}
  clipped, crowd, other = truth['annotations']
  assert clipped['bbox'] == [0, 4, 20, 26] and clipped['area'] == 520
  # Half a pixel outside stays as it is, as does the area of its mask.
  assert crowd['bbox'] == [0, 0, 40.5, 30] and crowd['area'] == 17.25
  assert crowd['iscrowd'] == 1
  assert other['bbox'] == [1, 2, 3, 4.5] and other['category_id'] == 90
  assert [a['id'] for a in truth['annotations']] == [1, 2, 3]


def test_names_choose_and_order_the_vocabulary(folder):
  source = _open(folder, names=('truck', 't-shirt'))
  assert source.names == ('truck', 'T-Shirt')
  assert source[0].phrase.tolist() == [1]
  assert source[1].phrase.tolist() == [0]
  truth = source.ground_truth()
  assert [c['id'] for c in truth['categories']] == [90, 7]
  assert [a['category_id'] for a in truth['annotations']] == [7, 90]


def test_excluded_classes_vanish_from_prompt_boxes_and_truth(folder):
  source = _open(folder, exclude=('truck',))
  assert source.names == ('hot_dog', 'T-Shirt')
  assert len(source) == 2 and not len(source[1].boxes)
  assert len(source.ground_truth()['annotations']) == 2


def test_an_unknown_name_is_refused_with_its_neighbours(folder):
  with pytest.raises(UserError, match="'trunk' is no.*'truck'"):
    _open(folder, names=('trunk',))
  with pytest.raises(UserError, match='leaves no class'):
    _open(folder, names=('truck',), exclude=('truck',))


def test_an_unreadable_image_is_named_and_leaves_the_truth(folder):
  (folder / 'a.png').write_bytes((folder / 'a.png').read_bytes()[:60])
  source = _open(folder)
  with pytest.raises(BadImage, match='a.png'):
    source[0]
  truth = source.ground_truth()
  assert [image['id'] for image in truth['images']] == [2**60 + 1]
  assert len(truth['annotations']) == 1


def test_raise_refuses_an_unreadable_image_in_the_truth(folder):
  (folder / 'a.png').write_text('<html>')
  with pytest.raises(BadImage, match='a.png'):
    _open(folder, bad_records='raise').ground_truth()


def test_the_report_counts_and_names_each_kind_of_fault(folder):
  content = _content()
  content['annotations'] += [
      {'image_id': 'x', 'category_id': 5, 'bbox': [0, 0, 4, 4]},
      {'image_id': 'x', 'category_id': 7, 'bbox': [0, 0, float('nan'), 4]},
      {'image_id': 'x', 'category_id': 7, 'bbox': None},
  ]
  report = _open(folder, content).report
  assert report.counts['malformed box'] == 2
  assert report.counts['box of an unknown class'] == 1
  assert report.names['malformed box'][1] == 'annotations[5] None'
  assert '2 x malformed box (annotations[4]' in str(report)


def test_values_that_nothing_can_hold_are_faults_or_unstated(folder):
  content = _content()
  content['images'][0] |= {'width': 10**400, 'height': 10**400}
  content['images'].append({'id': 3, 'file_name': '\ud800/c.png'})
  content['annotations'][0]['area'] = 10**400
  content['categories'].append({'id': 1, 'name': 'dog\ud800'})
  source = _open(folder, content)
  assert len(source) == 2
  assert source.names == ('hot_dog', 'T-Shirt', 'truck')
  assert source.report.counts['missing image'] == 1
  assert source.report.counts['class without id or name'] == 1
  areas = [a['area'] for a in source.ground_truth()['annotations']]
  assert 3 * 4.5 in areas


def test_boxes_of_a_image_left_out_are_no_fault_of_their_own(folder):
  content = _content()
  content['images'][0]['file_name'] = 'gone.png'
  report = _open(folder, content).report
  assert report.counts == {'missing image': 1}


def test_no_usable_image_is_refused_with_the_reason(folder):
  content = _content()
  for image in content['images']:
    image['file_name'] = '../a.png'
  with pytest.raises(UserError, match='no usable image.*2 x file_name outside'):
    _open(folder, content)


def test_sources_survive_pickling(folder):
  source = _open(folder)
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy[0].boxes, source[0].boxes)
  assert copy.ground_truth() == source.ground_truth()


def _grounded():
  content = _content()
  caption = {'caption': 'a hot dog and a T-shirt and a T-shirt'}
  content['images'] = [image | caption for image in content['images'][:1]]
  spans = [[[14, 23], [28, 37]], [[0, 9]], [[0, 9]], [[5, 5]]]
  content['annotations'] = [
      {'image_id': 'x', 'bbox': [n, n, 5, 5], 'tokens_positive': span}
      for n, span in enumerate(spans)
  ]
  return content


def test_phrases_are_numbered_as_the_caption_has_them(folder):
  source = _open(folder, _grounded(), MdetrSource)
  record = source[0]
  assert source.names == () and source.image_id(0) == 'x'
  assert record.phrase.tolist() == [1, 0, 0]
  assert record.text.spans == (((0, 9),), ((14, 23), (28, 37)))
  truth = source.ground_truth()
  assert truth['images'][0]['caption'] == record.text.caption
  assert truth['annotations'][0]['tokens_positive'] == [[14, 23], [28, 37]]
  assert source.report.counts == {'malformed span': 1}


@pytest.mark.parametrize(
    'value, span',
    [
        ([0, 3], (0, 3)),
        ([0, 99], (0, 5)),
        ([3, 1], None),
        ([-1, 2], None),
        ([2, 3], None),
        ([0.0, 3], None),
        ([0], None),
        (None, None),
    ],
)  # pyformat: disable
def test_a_span_is_read_clipped_or_refused(value, span):
  assert read_span(value, 'ab cd') == span


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A TFDS detection set, prepared without TensorFlow."""
  tfds = pytest.importorskip('tensorflow_datasets')

  class Toy(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      objects = tfds.features.Sequence({
          'bbox': tfds.features.BBoxFeature(),
          'label': tfds.features.ClassLabel(names=['cat', 'dog']),
          'is_crowd': np.bool_,
      })
      image = tfds.features.Image(encoding_format='png')
      features = tfds.features.FeaturesDict(
          {'image': image, 'objects': objects}
      )
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for count in range(3):
        stream = io.BytesIO()
        Image.new('L', (30, 20), count).save(stream, 'PNG')
        stream.seek(0)
        box = tfds.features.BBox(0.1, 0.2, 0.5, 0.6)
        rows = [
            {'bbox': box, 'label': n, 'is_crowd': n == 1} for n in range(count)
        ]
        yield count, {'image': stream, 'objects': rows}

  builder = Toy(
      data_dir=tmp_path_factory.mktemp('tfds'), file_format='array_record'
  )
  builder.download_and_prepare()
  return builder.data_dir


def test_a_prepared_tfds_set_is_read_at_random(prepared):
  source = table.open_source({'directory': prepared, 'split': 'train'})
  source = pickle.loads(pickle.dumps(source))
  assert source.names == ('cat', 'dog') and len(source) == 3
  records = sorted(source, key=lambda record: len(record.boxes))
  assert [len(record.boxes) for record in records] == [0, 1, 2]
  assert records[2].image.shape == (20, 30, 3)
  np.testing.assert_allclose(records[2].boxes[0], [6, 2, 18, 10], atol=1e-5)
  assert records[2].phrase.tolist() == [0, 1]
  assert records[2].crowd.tolist() == [False, True]
  assert len(source.ground_truth()['annotations']) == 3


def test_tfds_classes_can_be_chosen(prepared):
  spec = {'source': 'tfds', 'directory': prepared, 'names': ('dog',)}
  source = table.open_source(spec)
  truth = source.ground_truth()
  assert source.category_id(0) == 1
  assert [a['category_id'] for a in truth['annotations']] == [1]


def test_a_missing_tfds_set_is_refused(tmp_path):
  with pytest.raises(UserError, match='directory=.*nothing.*array_record'):
    table.open_source({'directory': str(tmp_path / 'nothing')})


def test_annotations_and_images_are_enough(folder):
  _open(folder)
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
        ({'source': 'voc'}, "source='voc' is not known; choose.*coco"),
        ({'source': 'coco'}, "source='coco' needs 'annotations'"),
        ({'images': 'here'}, "source='coco' needs 'annotations'"),
        (
            {'source': 'shapes', 'split': 'train', 'annotations': 'a.json'},
            "'annotations' is no field of source='shapes'",
        ),
        ({'split': 'train', 'sede': 1}, "'sede' is no field"),
        (
            {'annotations': 'gone.json', 'images': '.'},
            "annotations='gone.json' cannot be read.*No such file",
        ),
        (
            {'annotations': 'gone.json', 'images': '.', 'bad_records': 'no'},
            "bad_records='no' is not known",
        ),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(spec, message):
  with pytest.raises(UserError, match=message) as caught:
    table.open_source(spec)
  assert '\n' not in str(caught.value)


def test_a_missing_images_folder_is_refused(folder):
  _open(folder)
  with pytest.raises(UserError, match="images='nowhere' is not a folder"):
    CocoSource(annotations=folder.parent / 'file.json', images='nowhere')


@pytest.mark.parametrize(
    'name, split, counts',
    [
        ('raccoon', 'train', (160, 173, 1)),
        ('chess416', 'train', (202, 2107, 13)),
        ('coco_captions100', 'val', (50, 382, 80)),
    ],
)  # pyformat: disable
def test_ground_truth_of_real_sets_is_the_file_itself(
    shared, name, split, counts
):
  path = shared / 'data' / name / f'{split}.json'
  source = CocoSource(
      annotations=path, images=path.parent / 'images', bad_records='raise'
  )
  truth, content = source.ground_truth(), json.loads(path.read_text())
  keys = ('images', 'annotations', 'categories')
  assert tuple(len(truth[key]) for key in keys) == counts

  def table(annotations):
    fields = ('image_id', 'category_id', 'iscrowd', 'area')
    return sorted(
        (*(a[key] for key in fields), *a['bbox']) for a in annotations
    )

  assert table(truth['annotations']) == table(content['annotations'])
  assert [c['id'] for c in truth['categories']] == [
      c['id'] for c in content['categories']
  ]


def test_a_stray_class_can_be_excluded_from_a_real_set(shared):
  folder = shared / 'data' / 'chess416'
  spec = {
      'annotations': folder / 'train.json',
      'images': folder / 'images',
      'exclude': ('bishop',),
  }
  source = table.open_source(spec)
  assert len(source.names) == 12 and 'bishop' not in source.names
  assert len(source.ground_truth()['annotations']) == 2106
  record = source[0]
  assert len(record.text.phrases) == 12
  assert record.phrase.max() < 12


def test_real_captions_are_linked_to_their_boxes(shared):
  folder = shared / 'data' / 'coco_captions100'
  source = table.open_source({
      'source': 'mdetr',
      'annotations': folder / 'grounding_val.json',
      'images': folder / 'images',
  })
  content = json.loads((folder / 'grounding_val.json').read_text())
  assert len(source) == len(content['images']) == 149
  spans = [
      sorted(map(tuple, a['tokens_positive']))
      for a in content['annotations']
      if a['image_id'] == source.image_id(3)
  ]
  record = source[3]
  assert [list(record.text.spans[c]) for c in record.phrase] == spans
  assert not source.report.counts
