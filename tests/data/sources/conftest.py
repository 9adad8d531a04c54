"""A small COCO file and its images, for the tests of all readers of files."""

import json

import pytest
from PIL import Image

from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.selection import Selection


@pytest.fixture
def folder(tmp_path):
  """Two images, one of them in a folder of its own."""
  images = tmp_path / 'images'
  (images / 'sub').mkdir(parents=True)
  Image.new('RGB', (40, 30), (10, 20, 30)).save(images / 'a.png')
  Image.new('L', (20, 50), 99).save(images / 'sub' / 'b.png')
  return images


@pytest.fixture
def content():
  """Two images, three boxes, three classes; all unusual, none wrong."""
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


@pytest.fixture
def opened(folder, content):
  """Opens a file of the images: the one above unless another is given."""

  def open_file(other=None, kind=CocoSource, bad_records='skip', **selected):
    path = folder.parent / 'file.json'
    path.write_text(json.dumps(other or content))
    return kind(
        annotations=path,
        images=folder,
        selection=Selection(**selected),
        bad_records=bad_records,
    )

  return open_file
