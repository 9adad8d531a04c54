"""Small sets of one fault each, opened for training and for evaluation."""

import numpy as np
import pytest

from glip_jax import fields
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError
from glip_jax.evaluators import evaluation, runner

MENDED = {
    'category_id_type': '9 x category_id of another type than the id it names',
    'file_name_nfc_nfd': '3 x file whose accents are composed otherwise',
    'image_entry_per_box': '6 x entry of the file of another, joined with it',
}


def _open(shared, case):
  """The source of a case as training and as an evaluation open it."""
  folder = shared / 'data' / 'use_cases' / case
  if not folder.is_dir():
    pytest.skip(f'no {folder} on this machine')
  spec = {
      'annotations': str(folder / 'annotations.json'),
      'images': str(folder / 'images'),
  }
  data = {'tokenizer': 'shapes', 'num_boxes': 64, 'train': spec}
  told = fields.from_dict(runner.Evaluation, {'data': spec}, 'val')
  trained = open_training(data).train[0].source
  return trained, evaluation.open_sources({'val': told}, data)['val']


@pytest.mark.parametrize('case', MENDED)
def test_what_is_unambiguous_is_mended_and_told(shared, case, caplog):
  for source in _open(shared, case):
    boxes = [source[n].boxes for n in range(len(source))]
    assert [len(own) for own in boxes] == [3, 3, 3]
    np.testing.assert_array_equal(boxes[0][0], [6, 10, 28, 32])
    assert len(source.ground_truth()['annotations']) == 9
  told = [record.message for record in caplog.records]
  assert len(told) == 2
  assert all('9 of 9 boxes are used; ' + MENDED[case] in line for line in told)


def test_boxes_in_0_to_1_are_refused(shared):
  with pytest.raises(UserError, match=r'all 9 boxes .* in 0\.\.1.*multiply'):
    _open(shared, 'boxes_normalised')


def test_boxes_over_num_boxes_are_told_where_they_are_lost(shared, caplog):
  _, evaluated = _open(shared, 'boxes_over_num_boxes')
  (told,) = [record.message for record in caplog.records]
  assert '1 of 1 images have more than num_boxes=64' in told
  assert 'leaves out 86 of 150 boxes' in told and told.endswith('to 150')
  assert len(evaluated.ground_truth()['annotations']) == 150
