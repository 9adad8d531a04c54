"""Sets in several formats, mixed in one stream and evaluated."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image
from small_world import config_of

from glip_jax.data import pipeline, stream
from glip_jax.data.training_sources import open_training

BOX = [4, 6, 20, 16]


@pytest.fixture
def specs(tmp_path):
  """Four images of 40 x 30 as YOLO, as VOC, and as ODVG of both kinds."""
  folder = tmp_path / 'images'
  folder.mkdir()
  (tmp_path / 'labels').mkdir()
  (tmp_path / 'voc').mkdir()
  corners = zip(('xmin', 'ymin', 'xmax', 'ymax'), (5, 7, 20, 16), strict=True)
  inside = ''.join(f'<{key}>{value}</{key}>' for key, value in corners)
  instance = {'bbox': BOX, 'label': 1, 'category': 'blue square'}
  other = {'bbox': BOX, 'label': 0, 'category': 'red circle'}
  region = {'bbox': BOX, 'phrase': 'a blue square'}
  caption = 'a red circle left of a blue square'
  lines = []
  for n in range(4):
    Image.new('RGB', (40, 30), (n, 0, 0)).save(folder / f'{n}.jpg')
    (tmp_path / 'labels' / f'{n}.txt').write_text('1 .3 .366667 .4 .333333')
    (tmp_path / 'voc' / f'{n}.xml').write_text(
        '<annotation><object><name>blue square</name><bndbox>'
        f'{inside}</bndbox></object></annotation>'
    )
    sentence = {'caption': caption, 'regions': [region]}
    list_ = {'instances': [instance, other][: 1 + n % 2]}
    kind = {'detection': list_} if n % 2 else {'grounding': sentence}
    lines.append(json.dumps({'filename': f'{n}.jpg'} | kind))
  (tmp_path / 'data.yaml').write_text(
      'train: images\nnames: [red circle, blue square]\n'
  )
  (tmp_path / 'odvg.jsonl').write_text('\n'.join(lines))
  images = {'images': str(folder)}
  return {
      'yolo': {'annotations': str(tmp_path / 'data.yaml'), 'split': 'train'},
      'voc': {'source': 'voc', 'directory': str(tmp_path / 'voc')} | images,
      'odvg': {'annotations': str(tmp_path / 'odvg.jsonl')} | images,
  }


def test_sets_of_several_formats_are_trained_on_together(specs):
  config = config_of(specs)
  sources = open_training(config)
  batches = stream.train_stream(sources, config, batch_size=3, seed=0)
  seen = set()
  for batch in itertools.islice(iter(batches), 8):
    assert batch.targets.valid.any(axis=1).all()
    # Each box is described by tokens of its record's own prompt.
    described = (batch.targets.tokens & batch.prompt.mask[:, None]).any(-1)
    np.testing.assert_array_equal(described, batch.targets.valid)
    seen |= {int(mask.sum()) for mask in batch.prompt.mask}
  assert len(seen) >= 3  # Lists of one name and of two, and sentences.


@pytest.mark.parametrize('name', ['yolo', 'voc', 'odvg'])
def test_a_set_of_each_format_is_evaluated_in_its_order(specs, name):
  config = config_of(specs[name])
  (opened,) = open_training(config).train
  batches = list(pipeline.eval_batches(opened.source, config, batch_size=2))
  ids = np.concatenate([batch.id for batch in batches])
  np.testing.assert_array_equal(ids, range(4))
  for batch in batches:
    first = batch.targets.boxes[:, 0]
    sides = first[:, 2:] - first[:, :2]
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], 1.6, rtol=1e-3)
