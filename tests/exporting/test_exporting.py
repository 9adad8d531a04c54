"""Exported detectors: what their file finds is what the live model finds."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import abstract_models
import compiling
import jax
import numpy as np
import programs as programs_of_tests
import pytest
from detectors import linear_family
from jax import export as jax_export

from glip_jax import loading, predicting, serving, types
from glip_jax.data import settings
from glip_jax.errors import UserError
from glip_jax.evaluators import chunked, unpack
from glip_jax.exporting import file as files
from glip_jax.exporting import functions, programs
from glip_jax.ops import forms
from glip_jax.text import chunks, parsing
from glip_jax.training import sharding, tables
from glip_jax.weights import params_file

pytest.importorskip('flatbuffers', reason='flatbuffers: glip_jax[export]')

DOCS = pathlib.Path(__file__).parents[2] / 'docs' / 'export.md'
CANVAS = (64, 64)
NAMES = ('red circle', 'blue square', 'dog')
DATA = settings.Data(image_size=CANVAS, num_tokens=16, num_phrases=4)


def _predictor(recipe, threshold=0.0):
  detector = serving.Detector(
      recipe,
      sharding.make_mesh({'data': 1}, jax.devices()[:1]),
      abstract_models.random_params(recipe),
  )
  return predicting.Predictor(DATA, detector, threshold)


@pytest.fixture(scope='module')
def linear():
  """The smallest family there is."""
  return _predictor(linear_family.Linear(linear_family.Config()))


def _images():
  """Image, size and scale of two rows; no image fills its canvas."""
  rng = np.random.default_rng(0)
  size = np.array([(64, 40), (33, 64)], np.int32)
  image = np.zeros((2, *CANVAS, 3), np.uint8)
  for own, (h, w) in zip(image, size, strict=True):
    own[:h, :w] = rng.integers(0, 256, (h, w, 3), np.uint8)
  return image, size, np.array([(0.5, 0.4), (2, 1.5)], np.float32)


def _live(predictor, size):
  """What evaluation finds by the same names, in original pixels."""
  image, sizes, scale = _images()
  data = dataclasses.replace(
      settings.read_data(predictor.data), chunk_names=size
  )
  multiple = data.extent_multiple
  batch = abstract_models.blank_batch(CANVAS, rows=2).replace(
      image=image,
      size=sizes,
      extent=np.minimum(-(-sizes // multiple) * multiple, 64).astype(np.int32),
      scale=scale,
  )
  detect = chunked.Chunked(
      predictor.detector,
      chunks.split(parsing.read_prompt(NAMES), size),
      settings.to_element(data),
      most=functions.MOST,
  )
  return list(unpack.unpack(batch, detect(batch)))


def _found(outputs):
  """The valid rows of each image."""
  outputs = {name: np.asarray(x) for name, x in outputs.items()}
  for row, keep in enumerate(outputs['valid']):
    yield tuple(outputs[k][row][keep] for k in ('boxes', 'scores', 'labels'))


def _check_same(outputs, live):
  for (boxes, scores, labels), want in zip(_found(outputs), live, strict=True):
    assert len(labels) and len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, want.labels)
    np.testing.assert_allclose(scores, want.scores, atol=1e-5)
    np.testing.assert_allclose(boxes, want.boxes, atol=1e-2)


_ALONE = """
import sys
for name in ('glip_jax', 'flax', 'transformers', 'safetensors'):
  sys.modules[name] = None
{loader}
given = np.load('in.npz')
given = [given[name] for name in ('image', 'size', 'scale')]
_, detect = load('{path}', weights='{weights}')
np.savez('out.npz', **detect(*given))
np.savez('one.npz', **detect(*(x[1:] for x in given)))
"""


def _snippet():
  """The loader that the documentation gives."""
  return re.search(r'```python\n(.*?)```', DOCS.read_text(), re.S)[1]


def _run_alone(folder, path, weights=''):
  """What the documented loader finds where jax and numpy are all there is."""
  image, size, scale = _images()
  np.savez(folder / 'in.npz', image=image, size=size, scale=scale)
  code = _ALONE.format(loader=_snippet(), path=str(path), weights=weights)
  subprocess.run(
      [sys.executable, '-c', code],
      check=True,
      cwd=folder,
      env=os.environ | {'XLA_FLAGS': compiling.FLAGS},
  )
  return dict(np.load(folder / 'out.npz')), dict(np.load(folder / 'one.npz'))


def test_the_documented_loader_finds_what_evaluation_finds(linear, tmp_path):
  function = functions.by_names(linear, list(NAMES), chunk_names=2)
  path, weights = tmp_path / 'a.zip', tmp_path / 'weights.zip'
  about = files.write(
      path, linear, function, canvases=[CANVAS], weights_out=weights
  )
  assert not [name for name in about['arrays'] if 'language' in name]
  assert {'weights/boxes/kernel', 'text/encoded/tokens'} < set(about['arrays'])
  assert about['names'] == list(NAMES)
  both, one = _run_alone(tmp_path, path, weights)
  _check_same(both, _live(linear, 2))
  _check_same(one, _live(linear, 2)[1:])
  assert sorted(x.name for x in tmp_path.iterdir()) == [
      'a.zip', 'in.npz', 'one.npz', 'out.npz', 'weights.zip',
  ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('variant', ['nanoB', 'nano_mm', 'query_shapes'])
def test_the_command_exports_every_family(variant, tmp_path, compiled):
  recipe = abstract_models.recipe(variant)
  weights, path = tmp_path / 'a.safetensors', tmp_path / 'a.zip'
  params = abstract_models.random_params(recipe)
  params_file.write(weights, params, recipe, official=False)
  told = dict(variant=variant, tokenizer='shapes', threshold=0.0)
  # In a program of its own: the checks of shapes in the tests know no symbols.
  programs_of_tests.finish(
      programs_of_tests.start(
          '-m',
          'glip_jax.tools.export',
          f'--weights={weights}',
          *(f'--{name}={value}' for name, value in told.items()),
          *(f'--prompt={name}' for name in NAMES),
          '--canvas=64x64',
          f'--out={path}',
          cache=compiled,
      )
  )
  about = json.loads(np.load(path)[files.ABOUT])
  assert about['normalisation']['mean']
  unread = {f'weights/{name}' for name in tables.named_leaves(params)}
  unread -= set(about['arrays'])
  assert {x for x in unread if x.startswith('weights/language/')}
  find = loading.load(weights, canvas=CANVAS, **told)
  _check_same(_run_alone(tmp_path, path)[0], _live(find, 0))


def test_a_program_has_the_forms_of_all_platforms_and_the_arrays_it_reads():
  def call(arrays, image):
    on, off = lambda x: x + arrays['a'], lambda x: x - arrays['a']
    unread = arrays['b'] * 2
    del unread
    return {'y': forms.select('deform_blocks', on, off, image[:, 0, 0, 0])}

  function = functions.Function(
      call,
      {'b': np.float32(1), 'a': np.float32(2)},
      (functions.Input('image', ('h', 'w', 3), 'float32', ''),),
      (),
      {},
  )
  made, arrays = programs.export(function, [CANVAS, (32, 32)])
  assert list(arrays) == ['a']
  program = jax_export.deserialize(bytearray(made[32, 32].serialize()))
  assert program.platforms == ('cpu', 'cuda', 'tpu')
  for rows in (1, 3):
    image = np.ones((rows, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(
        jax.jit(program.call)([arrays['a']], image)['y'], np.full(rows, 3)
    )
  alone, _ = programs.export(function, [CANVAS], ['tpu'])
  assert 'subtract' in alone[CANVAS].mlir_module()
  assert 'add' not in alone[CANVAS].mlir_module()


def test_an_open_prompt_is_read_as_the_live_model_reads_it(linear):
  element = settings.to_element(DATA)
  prompt = jax.tree.map(
      lambda x: np.stack([x] * 2), element.encode(parsing.read_prompt(NAMES))
  )
  function = functions.by_prompts(linear)
  made, arrays = programs.export(function, [CANVAS], ['cpu'])
  assert list(arrays) == list(function.arrays)
  program = jax_export.deserialize(bytearray(made[CANVAS].serialize()))
  inputs = *_images(), prompt.ids, prompt.mask, prompt.spans
  outputs = jax.jit(program.call)(list(arrays.values()), *inputs)
  _check_same(outputs, _live(linear, 0))


def test_a_threshold_is_kept_to(linear):
  function = functions.by_names(linear, list(NAMES))
  everything = _call(function)
  middle = float(np.median(everything['scores']))
  some = _call(
      functions.by_names(
          dataclasses.replace(linear, threshold=middle), list(NAMES)
      )
  )
  keep = everything['scores'] >= np.float32(middle)
  np.testing.assert_array_equal(some['valid'], keep)
  assert keep.any() and not keep.all()
  assert (some['labels'][~keep] == -1).all() and not some['boxes'][~keep].any()


def _call(function):
  outputs = jax.jit(function.call)(dict(function.arrays), *_images())
  return jax.tree.map(np.asarray, outputs)


def test_prompts_are_joined_as_evaluation_joins_them():
  rng = np.random.default_rng(0)
  found = types.Detections(
      boxes=rng.random((3, 2, 5, 4), np.float32),
      scores=rng.integers(0, 4, (3, 2, 5)).astype(np.float32) / 4,  # Ties.
      labels=rng.integers(-1, 2, (3, 2, 5)),
      valid=rng.random((3, 2, 5)) < 0.7,
  )
  parts = [(0, jax.tree.map(lambda x, i=i: x[i], found)) for i in range(3)]
  want = chunked.join(parts, 7)
  jax.tree.map(np.testing.assert_array_equal, functions._join(found, 7), want)


def test_names_that_are_one_to_the_model_are_refused(linear):
  with pytest.raises(UserError, match='are the same tokens'):
    functions.by_names(linear, ['dog', 'cat', 'Dog'], chunk_names=1)


def test_names_that_do_not_fit_one_prompt_are_asked_in_several(linear):
  colours, shapes = ('red', 'green', 'blue', 'yellow'), ('circle', 'star')
  names = [f'{colour} {shape}' for colour in colours for shape in shapes]
  function = functions.by_names(linear, names)
  firsts = function.arrays['text/first']
  assert firsts[0] == 0 and 1 < len(firsts) < len(names)
  assert len(function.names) == len(names)


def test_the_file_says_how_it_is_called(linear, tmp_path):
  function = functions.by_names(linear, list(NAMES))
  files.write(
      tmp_path / 'a.zip',
      linear,
      function,
      canvases=[CANVAS, (96, 64)],
      platforms=['tpu'],
  )
  file = np.load(tmp_path / 'a.zip', allow_pickle=False)
  about = json.loads(file[files.ABOUT])
  assert about['canvases'] == [[64, 64], [96, 64]]
  assert about['thresholds'] == {'threshold': 0.0}
  assert [each['name'] for each in about['inputs']] == [
      'image', 'size', 'scale',
  ]  # fmt: skip
  for name in about['arrays']:
    np.testing.assert_array_equal(file[name], function.arrays[name])
  program = jax_export.deserialize(bytearray(file['programs/96x64']))
  assert program.platforms == ('tpu',)
  assert program.in_avals[len(about['arrays'])].shape[1:] == (96, 64, 3)
