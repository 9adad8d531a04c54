"""What is drawn of the detections."""

import numpy as np

from glip_jax.evaluators import sheets

BOXES = np.array(
    [[0, 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30], [0, 0, 4, 4]], float
)


def test_the_best_of_overlapping_boxes_stays():
  kept = sheets.best_per_place(BOXES, np.array([0.5, 0.9, 0.2, 0.6]))
  assert kept == [1, 3, 2]


def test_boxes_that_share_less_than_half_stay():
  kept = sheets.best_per_place(
      BOXES, np.array([0.5, 0.9, 0.2, 0.6]), max_iou=0.95
  )
  assert kept == [1, 3, 0, 2]


def test_nothing_found_is_nothing_drawn():
  assert sheets.best_per_place(np.zeros((0, 4)), np.zeros(0)) == []
