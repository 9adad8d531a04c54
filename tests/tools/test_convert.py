"""The converter refuses what it cannot write or read, in one line."""

import sys

import numpy as np
import pytest
from absl import flags

from glip_jax import errors
from glip_jax.tools import convert
from glip_jax.weights import files


def _main(monkeypatch, *arguments):
  """Runs the command line on flags of its own."""
  values = flags.FlagValues()
  monkeypatch.setattr(convert.flags, 'FLAGS', values)
  for kind in ('string', 'bool'):
    define = getattr(flags, f'DEFINE_{kind}')
    monkeypatch.setattr(
        convert.flags,
        f'DEFINE_{kind}',
        lambda *a, define=define: define(*a, flag_values=values),
    )
  convert._define_flags()
  values([sys.argv[0], *arguments])
  convert.main([])


@pytest.mark.parametrize(
    'out, message',
    [
        ('', '--out is missing'),
        ('x.txt', 'is no file of weights'),
        ('folder.pth', 'is a folder: give a file'),
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


def test_a_file_is_not_a_workdir(tmp_path, monkeypatch):
  path = tmp_path / 'a.pth'
  path.touch()
  with pytest.raises(errors.UserError, match='files of weights go by'):
    _main(monkeypatch, f'--workdir={path}', f'--out={tmp_path / "b.pth"}')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--weights=a.pth', '--step=8'), '--step=8 is of --workdir'),
        (('--workdir=runs/a', '--variant=L'), '--variant=L is of --weights'),
        (('--workdir=runs/a', '--ema'), '--ema=True is of --weights'),
    ],
)
def test_flags_of_the_other_source_are_refused(monkeypatch, arguments, message):
  with pytest.raises(errors.UserError, match=message):
    _main(monkeypatch, *arguments, '--out=b.pth')


def test_files_have_the_rights_of_any_new_file_and_long_names(tmp_path):
  (tmp_path / 'plain').touch()
  rights = (tmp_path / 'plain').stat().st_mode
  for ending in ('.safetensors', '.pth'):
    path = tmp_path / f'{"n" * (255 - len(ending))}{ending}'
    files.write(path, {'x': np.ones(1)})
    assert path.stat().st_mode == rights
  assert len(list(tmp_path.iterdir())) == 3


def test_what_the_system_refuses_to_write_is_one_line(tmp_path):
  (tmp_path / 'a.pth').mkdir()
  with pytest.raises(errors.UserError, match='a.pth cannot be written'):
    files.write(tmp_path / 'a.pth', {'x': np.ones(1)})
  assert len(list(tmp_path.iterdir())) == 1
