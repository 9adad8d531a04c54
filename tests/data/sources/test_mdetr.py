"""Captions with linked boxes as a source."""

import functools
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from glip_jax.data.sources import image_list, protocol, table
from glip_jax.data.sources.grounding import read_span
from glip_jax.data.sources.mdetr import MdetrSource
from glip_jax.data.sources.protocol import is_detection
from glip_jax.errors import UserError


def _grounded(content):
  caption = {'caption': 'a hot dog and a T-shirt and a T-shirt'}
  content['images'] = [image | caption for image in content['images'][:1]]
  spans = [[[14, 23], [28, 37]], [[0, 9]], [[0, 9]], [[5, 5]]]
  content['annotations'] = [
      {'image_id': 'x', 'bbox': [n, n, 5, 5], 'tokens_positive': span}
      for n, span in enumerate(spans)
  ]
  return content


def test_phrases_are_numbered_as_the_caption_has_them(content, opened):
  source = opened(_grounded(content), MdetrSource)
  record = source[0]
  assert source.image_id(0) == 'x'
  assert not is_detection(source)
  assert record.phrase.tolist() == [1, 0, 0]
  assert record.text.spans == (((0, 9),), ((14, 23), (28, 37)))
  assert source.report.counts == {'malformed span': 1}


def test_a_whole_caption_is_one_phrase_whether_it_has_boxes_or_not(
    content, opened
):
  content = _grounded(content)
  content['images'].append(
      content['images'][0]
      | {'id': 'y', 'caption': 'a cat', 'tokens_positive_eval': [[[0, 1]]]}
  )
  kind = functools.partial(MdetrSource, whole_caption=True)
  source = opened(content, kind)
  assert source[0].text.phrases == ('a hot dog and a T-shirt and a T-shirt',)
  assert source[0].phrase.tolist() == [0, 0, 0, 0]
  assert source.text(1).phrases == ('a cat',) and not len(source[1].boxes)
  assert source.evaluated() is source
  assert not source.report.counts


def test_truth_and_text_are_those_of_the_record_without_its_pixels(
    content, opened, monkeypatch
):
  source = opened(_grounded(content), MdetrSource)
  record = source[0]
  monkeypatch.setattr(image_list, 'read_moderate', pytest.fail)
  copy = pickle.loads(pickle.dumps(source))
  truth = copy.truth(0)
  assert copy.text(0) == truth.text == record.text
  np.testing.assert_array_equal(truth.boxes, record.boxes)
  np.testing.assert_array_equal(truth.phrase, record.phrase)
  assert not truth.is_list and not record.is_list


def test_a_caption_with_half_of_a_character_is_a_fault(content, opened):
  content = _grounded(content)
  other = content['images'][0] | {'id': 'y', 'caption': 'a dog \ud83d'}
  content['images'].append(other)
  source = opened(content, MdetrSource)
  assert len(source) == 1
  assert source.report.counts['caption with half of a character'] == 1
  with pytest.raises(UserError, match='half of a character: images'):
    opened(content, MdetrSource, bad_records='raise')


def test_a_caption_that_is_one_phrase_is_a_sentence_all_the_same(
    content, opened
):
  content = _grounded(content)
  content['images'][0]['caption'] = 'a hot dog'
  content['annotations'] = content['annotations'][1:2]
  record = opened(content, MdetrSource)[0]
  assert record.text.phrases == (record.text.caption,)
  assert not record.is_list


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


def test_real_captions_are_linked_to_their_boxes(shared):
  folder = shared / 'data' / 'coco_captions100'
  source = table.open_source({
      'source': 'mdetr',
      'annotations': str(folder / 'grounding_val.json'),
      'images': str(folder / 'images'),
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


def test_images_of_several_sources_lie_in_the_folders_of_their_names(
    tmp_path,
):
  """As GoldG's mixed file has them, whose names do not say where they are."""
  images = []
  for n, source in enumerate(('coco', 'vg', 'gone', '..', None)):
    folder = tmp_path / 'images' / ('' if n > 1 else source)
    folder.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (40, 30), (n, 0, 0)).save(folder / f'{n // 2}.png')
    images.append({
        'id': n,
        'file_name': f'{n // 2}.png',
        'caption': f'a dog {n}',
        'data_source': source,
    })
  path = tmp_path / 'mixed.json'
  path.write_text(json.dumps({'images': images, 'annotations': []}))
  source = MdetrSource(
      annotations=path, images=tmp_path / 'images', bad_records='raise'
  )
  values = [int(source[n].image[0, 0, 0]) for n in range(5)]
  assert values == [0, 1, 3, 3, 4]


def _judged(content):
  """Boxes of one entity with two mentions, of which each is judged."""
  content = _grounded(content)
  content['images'][0]['tokens_positive_eval'] = [
      [[28, 37]],
      [[14, 23]],
      [[10, 13]],  # No box is of it.
      [[0, 9]],
  ]
  return content


def test_each_mention_is_judged_where_the_file_lists_them(content, opened):
  source = opened(_judged(content), MdetrSource)
  assert source.text(0).spans == (((0, 9),), ((14, 23), (28, 37)))
  judged = pickle.loads(pickle.dumps(protocol.evaluated(source)))
  truth = judged.truth(0)
  assert truth.text.spans == (((0, 9),), ((14, 23),), ((28, 37),))
  assert judged.text(0) == truth.text == judged[0].text
  boxes = [truth.boxes[truth.phrase == phrase, 0] for phrase in range(3)]
  assert [own.tolist() for own in boxes] == [[1, 2], [0], [0]]
  assert judged.num_boxes().tolist() == [4]
  assert source.truth(0).phrase.tolist() == [1, 0, 0]  # Training's are kept.


def test_training_phrases_are_judged_where_none_are_listed(content, opened):
  source = opened(_grounded(content), MdetrSource)
  assert protocol.evaluated(source) is source
  content = _judged(content)
  other = content['images'][0] | {'id': 'y'}
  del other['tokens_positive_eval']
  box = content['annotations'][0] | {'image_id': 'y'}
  content['images'].append(other)
  content['annotations'].append(box)
  source = protocol.evaluated(opened(content, MdetrSource))
  assert source.text(1).spans == (((14, 23), (28, 37)),)
  assert source.truth(1).phrase.tolist() == [0]


def test_a_malformed_span_that_is_judged_is_a_fault(content, opened):
  content = _judged(content)
  content['images'][0]['tokens_positive_eval'] += [[[3, 'x']], 7]
  assert opened(content, MdetrSource).report.counts['malformed span'] == 3
  with pytest.raises(UserError, match='malformed span'):
    opened(content, MdetrSource, bad_records='raise')
