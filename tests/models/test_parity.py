"""The models compute what the official code computes (tests/golden)."""

import numpy as np
import parity
import pytest

NAMES = ('nanoA', 'nanoB', 'nanoL')


@pytest.mark.parametrize('name', NAMES)
def test_every_stage_agrees_with_the_reference(name):
  for key, (error, size) in parity.stage_errors(name).items():
    bound = 2e-4 if 'logits' in key else 1e-4 * size
    assert error <= bound, (key, error, size)


@pytest.mark.parametrize('name', NAMES)
def test_losses_agree_with_the_reference(name):
  for key, (error, size) in parity.loss_errors(name).items():
    assert error <= 1e-5 * size, (key, error, size)


@pytest.mark.parametrize('name', NAMES)
def test_the_same_anchors_are_positive(name):
  for mine, want in parity.positive_sets(name):
    np.testing.assert_array_equal(mine, want)


@pytest.mark.parametrize('name', NAMES)
def test_every_detection_is_found_with_its_box_score_and_label(name):
  for key, share in parity.detection_shares(name).items():
    assert share == 1.0, (key, share)
