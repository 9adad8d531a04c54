"""Configs: strict, saved whole, and wrong ones refused in one line."""

import copy
import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
import tiny_config
from absl import flags
from ml_collections import config_flags

from glip_jax import configuring, fields, loading, run
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
# In the place of any value or section.
_ODD = [None, 'x' * 5000, -(10**30), [], [['a', {}]], {}, {'a': {'b': [None]}}]
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


_MODEL = '{"model": {"family": "glip"}, "a": %s}'


@pytest.mark.parametrize(
    'text, fault',
    [
        ('', 'Expecting value'),
        ('{"a": ', 'Expecting value'),
        ('[' * 100_000, 'recursion'),
        (_MODEL % ('{"b":' * 40 + '1' + '}' * 40), 'nested too deeply'),
        (_MODEL % ('[' * 900 + ']' * 900), 'nested too deeply'),
        (_MODEL % '1, "b": 2, "a": 3', "'a' stands twice"),
        (_MODEL % '{"b": 1, "b": 1}', "'b' stands twice"),
        (_MODEL % 'NaN', 'NaN is no number'),
        (_MODEL % '-Infinity', '-Infinity is no number'),
        (_MODEL % ('9' * 5000), 'digits'),
        (_MODEL % f'"{"x" * (1 << 22)}"', 'more than 4194304 bytes'),
        (b'\xff\xfe\x00', 'utf-8'),
    ],
)
def test_a_config_that_was_not_saved_here_is_refused(tmp_path, text, fault):
  data = text if isinstance(text, bytes) else text.encode()
  (tmp_path / 'config.json').write_bytes(data)
  with pytest.raises(
      UserError, match=f'config.json is damaged.*{fault}'
  ) as got:
    configuring.load(tmp_path)
  assert len(str(got.value)) < 600
  assert configuring.changes(tmp_path, {'seed': 1}) == ''


def test_a_folder_in_place_of_a_config_is_refused(tmp_path):
  (tmp_path / 'config.json').mkdir()
  with pytest.raises(UserError, match='config.json is damaged .*directory'):
    configuring.load(tmp_path)


@pytest.mark.parametrize(
    'name', ['', '.', '..', '../x', '/tmp/x', 'a/b', 'a\0', '.x', 'n' * 101]
)
def test_an_evaluation_has_the_name_of_a_folder(name):
  config = fields.to_dict(run.read(tiny_config.get_config()))
  config['evals'] = {name: config['evals']['val']}
  with pytest.raises(UserError, match='config.evals has the name '):
    run.read(config)


@pytest.mark.parametrize(
    'best, message',
    [
        ('AP', "config.best='AP' must be EVALUATION/METRIC"),
        (
            'test/AP',
            "there is no evaluation 'test', of evaluations there are: ",
        ),
        (
            'val/recall',
            "config.best='val/recall': val gives no 'recall', but AP",
        ),
    ],
)
def test_a_best_that_no_evaluation_gives_is_refused(best, message):
  config = fields.to_dict(run.read(tiny_config.get_config()))
  assert run.read(config | {'best': 'val/AP50'}).best == 'val/AP50'
  with pytest.raises(UserError, match=message):
    run.read(config | {'best': best})


def _places(values, path=()):
  """Paths of all values in a nest."""
  yield path
  if isinstance(values, dict):
    for key, value in values.items():
      yield from _places(value, (*path, key))


@pytest.mark.parametrize('odd', _ODD, ids=lambda x: repr(x)[:20])
def test_a_value_of_any_type_anywhere_is_read_or_refused(odd, tmp_path):
  config = fields.to_dict(run.read(tiny_config.get_config()))
  config = json.loads(json.dumps(config))
  refused = 0
  for *sections, last in filter(None, _places(config)):
    changed = copy.deepcopy(config)
    part = changed
    for name in sections:
      part = part[name]
    part[last] = odd
    configuring.save(changed, tmp_path)
    try:
      recipe.build(loading.stored_config(tmp_path).model)
    except UserError as error:
      refused += 1
      assert len(str(error)) < 1500
  assert refused > 100


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
