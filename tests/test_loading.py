"""`glip_jax.load`: from a name or a file to what a picture holds."""

import dataclasses
import os
import subprocess
import sys

import abstract_models
import golden_weights
import huggingface_hub
import jax
import numpy as np
import pytest
from PIL import Image

import glip_jax
import train
from glip_jax import errors, loading, predicting, run
from glip_jax.data import fitting
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.glip import official_weights as glip
from glip_jax.text import tokenizer
from glip_jax.tools import convert
from glip_jax.training import sharding
from glip_jax.weights import description, formats, released

_SMALL_DATA = dict(
    tokenizer='shapes', resize=(64, 64), image_size=(64, 64), buckets=()
)
SMALL = dict(tokenizer='shapes', resize=(64, 64), canvas=(64, 64))


def test_importing_the_package_is_light():
  code = (
      'import sys, glip_jax; heavy = {"jax", "numpy", "flax"};'
      'sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules)'
      ' else 0)'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_importing_the_package_changes_nothing_in_the_process():
  code = (
      'import logging, os, signal, sys, threading, warnings\n'
      'def now():\n'
      '  signals = [signal.getsignal(s) for s in signal.valid_signals()]\n'
      '  return (dict(os.environ), signals, list(warnings.filters),\n'
      '    list(logging.root.handlers), logging.root.level, sys.excepthook,\n'
      '    threading.excepthook, threading.active_count(), os.getcwd())\n'
      'before = now()\n'
      'import glip_jax\n'
      'sys.exit(now() != before)'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_names_that_are_none_and_files_of_unknown_models_are_refused(tmp_path):
  with pytest.raises(errors.UserError, match="'glip_x' is no released model"):
    glip_jax.load('glip_x')
  path = tmp_path / 'mine.pth'
  formats.write(path, {'x': np.ones(1)})
  with pytest.raises(errors.UserError, match='variant is missing: say whose'):
    glip_jax.load(str(path))
  with pytest.raises(errors.UserError, match='holds no model of this family'):
    glip_jax.load(str(path), variant='nanoA', **SMALL)


@pytest.mark.parametrize('name', ['https://x.y/a.pth', 'HTTP://x.y/glip_t'])
def test_a_url_is_to_be_downloaded_first(name):
  with pytest.raises(errors.UserError, match=f"weights='{name}' is a URL: dow"):
    glip_jax.load(name)
  with pytest.raises(errors.UserError, match='is a URL: download it first'):
    formats.read(name)


def _cached(path, monkeypatch):
  """Lets the hub's package find a file, whatever is asked for."""
  monkeypatch.setattr(
      huggingface_hub, 'hf_hub_download', lambda *_, **__: str(path)
  )


def test_a_damaged_file_of_the_cache_is_to_be_removed(tmp_path, monkeypatch):
  blob, path = tmp_path / 'b10b', tmp_path / 'glip_tiny_model_o365.pth'
  blob.write_bytes(b'cut off')
  path.symlink_to(blob)
  _cached(path, monkeypatch)
  with pytest.raises(errors.UserError, match=f'remove {blob} and ask again'):
    glip_jax.load('glip_t_b', **SMALL)


@pytest.mark.parametrize(
    'sizes, message',
    [
        (dict(canvas=(100, 100)), r'canvas=\(100, 100\): .*multiples of 32'),
        (dict(canvas=64), 'canvas=64: give two sides'),
        (dict(resize=(0, 0)), r'resize=\(0, 0\): give two sides'),
        (dict(resize=(100, 50)), 'the shorter side comes first'),
    ],
)
def test_sizes_that_no_image_fits_are_refused(sizes, message):
  with pytest.raises(errors.UserError, match=message):
    glip_jax.load('glip_t', **(SMALL | sizes))


@pytest.mark.parametrize(
    'variant, multiple, end',
    [('nanoA', 32, ''), ('nano_mm', 1, '.'), ('textbook', 1, '')],
)
def test_images_and_prompts_come_as_the_family_was_tested(
    variant, multiple, end
):
  data = run.read(run.tested(variant, num_phrases=16)).data
  assert (data.resize, data.image_size) == ((800, 1333), (1344, 1344))
  assert (data.tokenizer, data.num_tokens) == ('bert-base-uncased', 256)
  assert (data.extent_multiple, data.prompt_end) == (multiple, end)
  assert data.num_phrases == 16


def test_few_programs_are_for_three_canvases_and_two_lengths():
  data = run.read(run.tested('T')).data
  assert set(fitting.few_buckets(data)) == {
      (height, width, tokens)
      for height, width in ((800, 1088), (800, 1344), (1344, 800))
      for tokens in (64, 256)
  }
  small = dataclasses.replace(data, buckets=(), num_tokens=16)
  assert fitting.few_buckets(small) == ((1344, 1344, 16),)


def test_what_a_caller_may_change_of_a_model():
  model = run.read(run.tested('T')).model
  changed = run.adapted(model, dtype='bfloat16', unknown=True)
  assert (changed['dtype'], changed['decode']['unknown']) == ('bfloat16', True)
  assert run.adapted(model, dtype=np.float32) == model
  with pytest.raises(errors.UserError, match="dtype='fp' is none: give"):
    run.adapted(model, dtype='fp')
  dino = run.read(run.tested('grounding_dino_T')).model
  with pytest.raises(errors.UserError, match="'grounding_dino' do not look"):
    run.adapted(dino, unknown=True)


def test_devices_are_a_number_or_some_that_there_are():
  known = jax.devices()
  assert sharding.choose_devices(None) == known[:1]
  assert sharding.choose_devices(1) == known[:1]
  assert sharding.choose_devices(known) == known
  for devices in (0, len(known) + 1, 'gpu', [], [3], True):
    with pytest.raises(errors.UserError, match='devices=.*give'):
      sharding.choose_devices(devices)


def test_a_grounding_dino_is_loaded_by_name_and_by_file(tmp_path, monkeypatch):
  recipe = abstract_models.recipe('nano_mm')
  params = abstract_models.random_params(recipe)
  path = tmp_path / 'model.safetensors'
  formats.write(path, recipe.write_weights(params))
  with pytest.raises(errors.UserError, match=f'say whose weights {path} are'):
    glip_jax.load(path, **SMALL)
  small = released.Released('nano_mm', 'mine/nano')
  monkeypatch.setitem(released.RELEASED, 'dino_nano', small)
  _cached(path, monkeypatch)
  for find in (
      glip_jax.load(path, variant='nano_mm', **SMALL),
      glip_jax.load('dino_nano', **SMALL),
  ):
    jax.tree.map(np.testing.assert_array_equal, find.detector.params, params)
    assert (find.data.image_size, find.data.prompt_end) == ((64, 64), '.')


def test_a_name_and_a_path_are_found_in_one_place(tmp_path, monkeypatch):
  _cached(tmp_path / 'model.safetensors', monkeypatch)
  file = loading.find('llmdet_l')
  assert str(file) == os.fspath(tmp_path / 'model.safetensors')
  assert (file.variant, file.fetched) == ('mm_grounding_dino_L', True)
  file = loading.find('here/glip_large_model.pth')
  assert (str(file), file.variant) == ('here/glip_large_model.pth', 'L')
  assert not file.fetched
  assert loading.find('x.safetensors', 'nano_gd').variant == 'nano_gd'


def test_training_starts_from_a_released_name(tmp_path, monkeypatch):
  recipe = abstract_models.recipe('grounding_dino_shapes')
  params = abstract_models.random_params(recipe)
  path = tmp_path / 'model.safetensors'
  formats.write(path, recipe.write_weights(params))
  _cached(path, monkeypatch)
  blank = jax.tree.map(jax.numpy.zeros_like, params)
  started, report = train._start_from('grounding_dino_t', recipe, blank)
  assert report.path == str(path) and not report.missing
  jax.tree.map(np.testing.assert_array_equal, started, params)


@pytest.mark.large
def test_a_released_name_finds_what_its_weights_find(
    golden, tmp_path, monkeypatch
):
  small = released.Released('nanoA', 'mine/nano', 'nano.pth')
  monkeypatch.setitem(released.RELEASED, 'glip_nano', small)
  state = golden_weights.official_state(golden / 'nano', 'nanoA')
  formats.write(tmp_path / 'nano.pth', state)
  _cached(tmp_path / 'nano.pth', monkeypatch)
  find = glip_jax.load('glip_nano', threshold=0.1, **SMALL)
  image = tmp_path / 'image.png'
  pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
  Image.fromarray(pixels).save(image)
  found = find(image, 'red circle. dog')
  assert len(found.scores) and set(found.phrases) <= {'red circle', 'dog'}
  # Detections end at the last pixel of the *resized* picture.
  assert found.boxes.max() < 61 and found.scores.min() >= 0.1
  params = glip.from_official(state, abstract_models.params('nanoA'))
  same = predicting.make_predictor(
      run.Run(model=recipes.variant('nanoA'), data=find.data),
      lambda *_: params,
      threshold=0.1,
  )
  np.testing.assert_array_equal(
      found.boxes, same(image, 'red circle. dog').boxes
  )


def test_a_converted_file_holds_config_and_tokenizer_and_loads_alone(
    tmp_path, monkeypatch
):
  recipe = abstract_models.recipe('nano_mm')
  params = abstract_models.random_params(recipe)
  theirs, ours = tmp_path / 'theirs.safetensors', tmp_path / 'ours.safetensors'
  formats.write(theirs, recipe.write_weights(params))
  config = run.tested('nano_mm', **_SMALL_DATA)
  convert.convert(
      config.model.to_dict(), ours, weights=theirs, data=config.data.to_dict()
  )
  loads = lambda *_: pytest.fail('it was looked for')
  monkeypatch.setattr('huggingface_hub.hf_hub_download', loads)
  moved = tmp_path / 'elsewhere' / 'model.safetensors'
  moved.parent.mkdir()
  ours.rename(moved)
  detector = glip_jax.load(moved)
  jax.tree.map(np.testing.assert_array_equal, detector.detector.params, params)
  data = detector.data
  assert (data.image_size, data.prompt_end) == ((64, 64), '.')
  assert data.tokenizer == str(moved)
  words = tokenizer.load_tokenizer('shapes')('red circle')['input_ids']
  read = tokenizer.load_tokenizer(data.tokenizer)
  assert read('red circle')['input_ids'] == words
  with pytest.raises(errors.UserError, match='say whose weights'):
    glip_jax.load(theirs)
  with pytest.raises(errors.UserError, match='holds no tokenizer: pass a'):
    tokenizer.load_tokenizer(str(theirs))


def test_what_a_file_says_of_itself_and_cannot_be_read_is_refused(tmp_path):
  path = tmp_path / 'mine.safetensors'
  formats.write(path, {'x': np.ones(1)}, {description.CONFIG: '{"model": 3}'})
  with pytest.raises(errors.UserError, match='which cannot be read .*convert'):
    glip_jax.load(path)
  formats.write(
      path,
      {'x': np.ones(1)},
      description.describe({'family': 'none'}, {}, ''),
  )
  with pytest.raises(errors.UserError, match="family='none' is unknown"):
    glip_jax.load(path)
