"""Hugging Face's files as they are released: their names and shapes."""

import json

import abstract_models
import dino_weights
import jax
import numpy as np
import pytest
from parity import dino

from glip_jax.detectors.grounding_dino import hugging_face_weights


def _file_of(name):
  """What is written of a full-size model: zeros that nothing is kept of."""
  zeros = jax.tree.map(
      lambda x: np.broadcast_to(np.float32(0), x.shape),
      abstract_models.params(name),
  )
  return hugging_face_weights.to_hugging_face(zeros)


@pytest.mark.parametrize(
    'name, reference',
    [('grounding_dino_T', 'gd_full'), ('mm_grounding_dino_T', 'mm_full')],
)
def test_full_models_have_the_references_names_and_shapes(
    shared, name, reference
):
  folder = shared / 'reference/golden/query'
  manifest = json.loads((folder / f'{reference}.manifest.json').read_text())
  want = {
      dino_weights.file_name(key): tuple(shape)
      for key, shape in manifest['keys'].items()
      if key not in manifest['ties']
  }
  assert {k: x.shape for k, x in _file_of(name).items()} == want


def test_llmdet_has_as_many_arrays_as_its_released_file():
  """1,015 of float32, as the notes of a release of LichtFeld-Studio count."""
  names = _file_of('mm_grounding_dino_T')
  # Files that older versions wrote have no norm of Swin's own output.
  assert len([k for k in names if 'swin.layernorm' not in k]) == 1015


def test_a_head_is_read_under_either_of_its_two_names():
  """Of copies Hugging Face keeps the one whose name comes last."""
  model = dino.Reference('mm_nano')
  state = {
      key: x
      for key, x in model.state.items()
      if 'swin.layernorm' not in key
      and not key.startswith(('model.decoder.bbox_embed.0', 'bbox_embed.1'))
      and not key.startswith(('model.decoder.class_embed.0', 'class_embed.1'))
  }
  assert len(state) == len(model.file_keys) - 2
  back = hugging_face_weights.from_hugging_face(state, model.shapes)
  jax.tree.map(np.testing.assert_array_equal, back, model.params)
