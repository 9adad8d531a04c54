"""The converter refuses what it cannot write or read, in one line."""

import pathlib
import sys

import huggingface_hub
import jax
import numpy as np
import pytest
import tiny_config
from absl import flags

from glip_jax import errors
from glip_jax.detectors import recipe as recipes
from glip_jax.tools import convert
from glip_jax.weights import formats, params_file, released

TINY = pathlib.Path(__file__).parents[1] / 'tiny_config.py'


def _main(monkeypatch, *arguments):
  """Runs the command line on flags of its own."""
  values = flags.FlagValues()
  convert._define_flags(values)
  monkeypatch.setattr(convert.flags, 'FLAGS', values)
  values([sys.argv[0], *arguments])
  convert.main([])


@pytest.mark.parametrize(
    'out, message',
    [
        ('', '--out is missing'),
        ('x.txt', 'is no file of weights'),
        ('folder.pth', 'is a folder: give the file to write'),
        ('file.pth/x.pth', 'is no folder; give another'),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_reading(
    tmp_path, monkeypatch, out, message
):
  (tmp_path / 'folder.pth').mkdir()
  (tmp_path / 'file.pth').touch()
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.UserError, match=message):
    _main(monkeypatch, '--weights=gone.pth', f'--out={out}')


def test_the_file_that_is_read_is_not_written_over(tmp_path, monkeypatch):
  (tmp_path / 'a.pth').write_bytes(b'weights')
  (tmp_path / 'b.pth').symlink_to('a.pth')
  monkeypatch.chdir(tmp_path)
  for out in ('a.pth', 'b.pth', tmp_path / 'a.pth'):
    with pytest.raises(errors.UserError, match='is the file that is read'):
      _main(monkeypatch, '--weights=a.pth', f'--out={out}')
  with pytest.raises(errors.UserError, match='is the file that is read'):
    convert.convert({}, 'b.pth', weights=tmp_path / 'a.pth')
  assert (tmp_path / 'a.pth').read_bytes() == b'weights'


def test_a_file_is_not_a_workdir(tmp_path, monkeypatch):
  path = tmp_path / 'a.pth'
  path.touch()
  with pytest.raises(errors.UserError, match='files of weights go by'):
    _main(monkeypatch, f'--workdir={path}', f'--out={tmp_path / "b.pth"}')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--weights=a.pth', '--step=8'), '--step is of --workdir'),
        (('--workdir=runs/a', '--variant=L'), '--variant is of --weights'),
        (('--workdir=runs/a', '--ema'), '--ema is of --weights'),
        (
            ('--weights=a.pth', '--variant=L', f'--config={TINY}'),
            '--config and --variant=L both describe a model',
        ),
    ],
)
def test_flags_of_the_other_source_are_refused(monkeypatch, arguments, message):
  with pytest.raises(errors.UserError, match=message):
    _main(monkeypatch, *arguments, '--out=b.pth')


def test_a_model_that_is_no_variant_goes_by_its_config(tmp_path, monkeypatch):
  recipe = recipes.build(tiny_config.get_config().model)
  shapes = convert._shapes(recipe)
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda x: rng.standard_normal(x.shape, 'f4'), shapes)
  source, out = tmp_path / 'a.safetensors', tmp_path / 'b.pth'
  params_file.write(source, params, recipe, official=False)
  _main(
      monkeypatch,
      f'--config={TINY}',
      f'--weights={source}',
      f'--out={out}',
      '--official',
  )
  after = params_file.read(out, shapes, recipe)
  jax.tree.map(np.testing.assert_array_equal, after, params)


def test_a_released_model_is_converted_by_its_name(tmp_path, monkeypatch):
  recipe = recipes.build(recipes.variant('nano_mm'))
  shapes = convert._shapes(recipe)
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda x: rng.standard_normal(x.shape, 'f4'), shapes)
  source, out = tmp_path / 'model.safetensors', tmp_path / 'mine.pth'
  params_file.write(source, params, recipe, official=True)
  row = released.Released('nano_mm', 'mine/nano')
  monkeypatch.setitem(released.RELEASED, 'dino_nano', row)
  monkeypatch.setattr(
      huggingface_hub, 'hf_hub_download', lambda *_: str(source)
  )
  _main(monkeypatch, '--weights=dino_nano', f'--out={out}')
  after = params_file.read(out, shapes, recipe)
  jax.tree.map(np.testing.assert_array_equal, after, params)


def test_files_have_the_rights_of_any_new_file_and_long_names(tmp_path):
  (tmp_path / 'plain').touch()
  rights = (tmp_path / 'plain').stat().st_mode
  for ending in ('.safetensors', '.pth'):
    path = tmp_path / f'{"n" * (255 - len(ending))}{ending}'
    formats.write(path, {'x': np.ones(1)})
    assert path.stat().st_mode == rights
  assert len(list(tmp_path.iterdir())) == 3


def test_what_the_system_refuses_to_write_is_one_line(tmp_path):
  (tmp_path / 'a.pth').mkdir()
  with pytest.raises(errors.UserError, match='a.pth cannot be written'):
    formats.write(tmp_path / 'a.pth', {'x': np.ones(1)})
  assert len(list(tmp_path.iterdir())) == 1
