"""The names of a prompt as the original GLIP draws them, mistakes included.

Facts of `data/datasets/od_to_grounding.py`: "__background__" is drawn like any
class; drawn names that are in the image are dropped, so that fewer are left;
and the length is looked at only of the names that are not in the image.
"""

import random

import numpy as np

from glip_jax.text import prompts


def kept_labels(labels, names, count_tokens, limit):
  """Labels whose names fit, in the order in which they were tried."""
  order = list(set(labels))
  random.shuffle(order)
  kept, length = [], 0
  for label in order:
    length += count_tokens(prompts.clean_name(names[label]) + '. ')
    if length > limit:
      break
    kept.append(label)
  return kept, length


def draw(labels, names, count_tokens, case):
  """Labels in the order of the prompt."""
  if case['disable_shuffle']:
    return sorted(names)[1:]
  pool = case['restricted_negative_list'] or list(names)
  present = set(labels)
  most = case['random_sample_negative']
  if case['max_num_labels'] > 0:
    most = max(min(case['max_num_labels'] - len(present), most), 0)
  most = min(most, len(pool))
  count = min(_count(case['control_probabilities'], most), len(pool))
  drawn = np.random.choice(pool, size=count, replace=False)
  # Sets are read in an order that follows from how they grew.
  absent = set()
  for label in drawn.tolist():
    if label not in present:
      absent.add(label)
  present = list(present)
  random.shuffle(present)
  absent = list(absent)
  random.shuffle(absent)
  room, fitting = case['max_seq_length'] - case['positive_caption_length'], []
  for label in absent:
    room -= count_tokens(prompts.clean_name(names[label]) + '. ')
    if room <= 0:
      break
    fitting.append(label)
  listed = fitting + present
  random.shuffle(listed)
  return listed


def _count(shares, most):
  """How many names are drawn, for the four shares of the original."""
  one_absent, one_present, full, _ = shares
  kind = random.random()
  if kind < one_absent:
    return 1
  if kind < one_absent + one_present:
    return 0
  if kind < one_absent + one_present + full:
    return most
  return np.random.choice(max(1, most)) + 1
