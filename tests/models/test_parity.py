"""The models compute what the official code computes (tests/golden)."""

import numpy as np
import parity_detections
import parity_reference
import parity_stages
import parity_training
import pytest

# C is B with other weights.
NAMES = ('nanoA', 'nanoB', 'nanoL')


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('prefix', ['det', 'grd', 'train'])
def test_every_stage_agrees_with_the_reference(name, prefix):
  rows = parity_stages.rows(name, prefix)
  assert rows
  for row in rows:
    assert row.ok, row


@pytest.mark.parametrize('name', NAMES)
def test_no_stage_of_the_reference_is_left_out(name):
  """By number, as the names of both sides differ."""
  stored = {
      key.split('__')[0]
      for key in parity_reference.reference(name).arrays.files
      if key.startswith('det_') and '_img' not in key
  }
  inputs = {
      'det_input_ids',
      'det_attention_mask',
      'det_caption',
      'det_positive_map_json',
  }
  # Two are logits of other columns and masked words, one is a dead branch.
  derived = {
      'det_dot_product_logits',
      'det_bert_embedded',
      'det_cls_logits',
  }
  assert len(stored - inputs - derived) == len(parity_stages.rows(name))


@pytest.mark.parametrize('name', NAMES)
def test_losses_agree_with_the_reference(name):
  for key, (error, size) in parity_training.loss_errors(name).items():
    assert error <= parity_training.LOSS * size, (key, error, size)


@pytest.mark.parametrize('name', NAMES)
def test_the_same_anchors_are_matched_to_the_same_boxes(name):
  for mine, want in parity_training.positive_sets(name):
    np.testing.assert_array_equal(mine, want)


@pytest.mark.parametrize('name', NAMES)
def test_every_detection_is_found_with_its_box_score_and_label(name):
  for key, share in parity_detections.shares(name).items():
    assert share == 1.0, (key, share)
