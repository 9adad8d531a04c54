"""Configs: strict, saved whole, and wrong ones refused in one line."""

import importlib
import os
import pathlib
import subprocess
import sys

import pytest
import tiny_config
from absl import flags
from ml_collections import config_flags

from glip_jax import configuring, fields, run
from glip_jax.detectors import recipe
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
            'no such field: hed; Did you mean head instead of hed?',
        ),
        (
            ['--config', 'config.py', '--config.xyz', '5'],
            '--config has no such field: xyz',
        ),
        (['--config=config.py', '--config.steps=ten'], "'ten'"),
        (['--config=config.py', '--stps=1'], "'stps'"),
        (['--config=nowhere.py'], "No such file or directory: 'nowhere.py'"),
        (['--config=config.py', '--config.steps.x=1'], 'steps.x'),
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
  told = fields.to_dict(run.read(tiny_config.get_config()))
  configuring.save(told, tmp_path / 'new')
  assert run.read(configuring.load(tmp_path / 'new')) == run.read(told)
  assert [p.name for p in (tmp_path / 'new').iterdir()] == ['config.json']


@pytest.mark.parametrize('text', ['{"model": {"head": {}}}', '[]', '{}'])
def test_a_config_of_an_earlier_version_is_refused(tmp_path, text):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(UserError, match='not a config of this version'):
    configuring.load(tmp_path)


@pytest.mark.parametrize(
    'name', ['shapes.py:long,late', 'glip.py', 'coco.py:A']
)
def test_every_field_of_a_run_can_be_set_whatever_the_file_says(
    name, monkeypatch
):
  path, _, argument = name.partition(':')
  module = importlib.import_module(f'configs.{path.removesuffix(".py")}')
  config = module.get_config(*filter(None, [argument]))
  assert set(config) == set(fields.names(run.Run))
  argv = [
      'program',
      '--given.distributed=True',
      '--given.optimizer.clip_norm=3',
      '--given.model.head.fusion.on=False',
      '--given.average.on=True',
      '--given.optimizer.frozen=("^language",)',
  ]
  monkeypatch.setattr(sys, 'argv', argv)  # ml_collections looks there.
  given = config_flags.DEFINE_config_dict(
      'given', config, flag_values=(values := flags.FlagValues())
  )
  values(argv)
  read = run.read(given.value)
  assert (read.distributed, read.average.on) == ('True', True)
  assert read.optimizer.clip_norm == 3.0
  assert read.optimizer.frozen == ('^language',)
  assert not recipe.read_config(read.model).head.fusion.on


def test_a_workdir_without_config_is_refused(tmp_path):
  with pytest.raises(UserError, match='config.json does not exist.*--workdir'):
    configuring.load(tmp_path)


@pytest.mark.parametrize(
    'out, fault',
    [
        ('folder', 'is a folder: give the file to write'),
        ('file/a.png', '/file is no folder; give another'),
        ('file/new/a.png', '/file is no folder; give another'),
        ('nothing/a.png', '/nothing is a link to nothing; give another'),
        ('loop/a.png', 'Too many levels of symbolic links; give another'),
        ('pipe', 'is a pipe \\(FIFO\\): give the path of a file'),
        ('n' * 256, 'File name too long; give another'),
        ('n' * 256 + '/a.png', 'File name too long; give another'),
        ('a\0.png', 'embedded null byte; give another'),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path, out, fault):
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'file').touch()
  (tmp_path / 'nothing').symlink_to('gone')
  (tmp_path / 'loop').symlink_to('loop')
  os.mkfifo(tmp_path / 'pipe')
  before = sorted(tmp_path.iterdir())
  with pytest.raises(UserError, match=f'^out=.*{fault}'):
    configuring.check_out('out', f'{tmp_path}/{out}')
  assert sorted(tmp_path.iterdir()) == before


def test_a_folder_without_rights_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'access', lambda *_: False)  # root may all.
  fault = f'{tmp_path} cannot be written to; give another'
  with pytest.raises(UserError, match=fault):
    configuring.check_out('out', tmp_path / 'new' / 'a.png')

  def stat(path, **_):
    raise PermissionError(13, 'Permission denied', path)

  monkeypatch.setattr(os, 'stat', stat)
  with pytest.raises(UserError, match='Permission denied; give another'):
    configuring.check_folder('out', tmp_path / 'new')


def test_a_file_that_can_be_written_is_let_pass(tmp_path):
  (tmp_path / 'old').touch()
  (tmp_path / 'nothing').symlink_to('gone')
  for name in ('old', 'new/deep/a.png', 'nothing'):
    configuring.check_out('out', tmp_path / name)
  configuring.check_out('out', 'gs://bucket/a.png')


def test_what_changed_since_a_run_began_is_told(tmp_path):
  config = fields.to_dict(run.read(tiny_config.get_config()))
  assert configuring.changes(tmp_path, config) == ''
  configuring.save(config, tmp_path)
  assert configuring.changes(tmp_path, config) == ''
  assert configuring.changes(tmp_path, config | {'steps': 99}) == ''
  other = config | {'seed': 7, 'optimizer': config['optimizer'] | {'lr': 0.5}}
  assert configuring.changes(tmp_path, other) == (
      'seed 0 -> 7, optimizer.lr 0.0015 -> 0.5'
  )
