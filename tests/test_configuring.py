"""Configs: strict, saved whole, and wrong ones refused in one line."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import ml_collections
import pytest

from glip_jax import configuring
from glip_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = """
import ml_collections

def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.steps = 10
  config.model = dict(head=dict(depth=3), name=arg or 'none')
  return config
"""
PROGRAM = """
from absl import flags
from glip_jax import configuring, errors
from ml_collections import config_flags

config_flags.DEFINE_config_file('config')

def main(_):
  config = flags.FLAGS.config
  if config.steps < 0:
    raise errors.UserError(f'steps={config.steps} is\\nnegative')
  print(config.model.name, config.model.head.depth, config.steps)

configuring.run(main)
"""


@dataclasses.dataclass(frozen=True)
class Settings:
  rate: float
  betas: tuple[float, float] = (0.9, 0.999)


def _run(folder, *arguments):
  (folder / 'config.py').write_text(CONFIG)
  return subprocess.run(
      [sys.executable, '-c', PROGRAM, *arguments],
      cwd=folder,
      env=os.environ | {'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
      timeout=60,
  )


def test_a_config_file_takes_an_argument_and_overrides(tmp_path):
  done = _run(tmp_path, '--config=config.py:B', '--config.model.head.depth=5')
  assert done.stdout == 'B 5 10\n'
  assert done.returncode == 0


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            ['--config=config.py:B', '--config.model.hed.depth=5'],
            (
                "--config.model.hed.depth=5: config.model has no key 'hed'; did"
                " you mean 'head'?"
            ),
        ),
        (
            ['--config', 'config.py', '--config.xyz', '5'],
            "--config.xyz: config has no key 'xyz'; it has 'model', 'steps'",
        ),
        (['--config=config.py', '--config.steps=ten'], "'ten'"),
        (['--config=config.py', '--stps=1'], "'stps'"),
        (['--config=nowhere.py'], "--config='nowhere.py' does not exist"),
        (['--config=config.py', '--config.steps=-1'], 'steps=-1 is negative'),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_a_status(
    tmp_path, arguments, message
):
  done = _run(tmp_path, *arguments)
  assert done.returncode == 1
  assert done.stdout == ''
  assert message in done.stderr
  assert done.stderr.startswith('error: ')
  assert done.stderr.count('\n') == 1


def test_a_saved_config_is_read_back_equal(tmp_path):
  config = ml_collections.ConfigDict(
      {'a': {'size': (3, 4), 'table': (('x', 0.5),), 'none': None}, 'b': 1e-4}
  )
  configuring.save(config, tmp_path / 'new')
  assert configuring.load(tmp_path / 'new') == config
  assert [p.name for p in (tmp_path / 'new').iterdir()] == ['config.json']


def test_a_workdir_without_config_is_refused(tmp_path):
  with pytest.raises(UserError, match='config.json does not exist.*--workdir'):
    configuring.load(tmp_path)


def test_settings_are_filled_from_any_mapping():
  config = ml_collections.ConfigDict({'rate': 0.5})
  assert configuring.fill(Settings, config, 'x') == Settings(0.5)


def test_unknown_and_missing_settings_are_refused():
  with pytest.raises(UserError, match="x has no key 'raet'; .*'rate'"):
    configuring.fill(Settings, {'raet': 1.0}, 'x')
  with pytest.raises(UserError, match="x: .*missing.*'rate'"):
    configuring.fill(Settings, None, 'x')
