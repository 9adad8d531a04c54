"""train.py and eval.py end to end: killed, resumed, prolonged, evaluated."""

import dataclasses
import json
import pathlib
import shutil
import signal
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import programs
import pytest
import tiny_config
from etils import epath
from PIL import Image

from glip_jax import configuring
from glip_jax.training import metrics

CURVES = ('loss', 'loss_token', 'grad_norm', 'param_norm', 'lr', 'val/AP')


@dataclasses.dataclass
class Runs:
  """Folders and output of the runs.

  Attributes:
    straight: workdir of a run that nothing disturbed.
    killed: workdir of one that was killed and started again.
    left: checkpoints that it had when it was killed.
    resumed_output: what it printed when started again.
  """

  straight: pathlib.Path
  killed: pathlib.Path
  left: set[str]
  resumed_output: str


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.getbasetemp() / 'xla'


@pytest.fixture(scope='module')
def runs(tmp_path_factory, cache):
  folder = tmp_path_factory.mktemp('runs')
  killed = folder / 'killed'
  left = _train_and_kill(killed, cache)
  # Both at a time: what they need is compiled, and tracing takes one core.
  straight = _train(folder / 'straight', cache)
  resumed = _train(killed, cache)
  programs.finish(straight)
  return Runs(folder / 'straight', killed, left, programs.finish(resumed))


@dataclasses.dataclass
class Sequels:
  """What is done with finished workdirs.

  Attributes:
    prolonged: workdir of a copy that was given two more steps.
    prolonged_output: what that printed.
    again_output: what the same command as before printed.
    evaluated: folder that eval.py wrote.
    evaluated_output: what it printed.
  """

  prolonged: pathlib.Path
  prolonged_output: str
  again_output: str
  evaluated: pathlib.Path
  evaluated_output: str


@pytest.fixture(scope='module')
def sequels(runs, tmp_path_factory, cache):
  folder = tmp_path_factory.mktemp('sequels')
  prolonged, evaluated = folder / 'prolonged', folder / 'evaluated'
  shutil.copytree(runs.straight, prolonged)
  longer = _train(prolonged, cache, '--config.steps=10')
  evaluation = programs.start(
      'eval.py', f'--workdir={runs.killed}', f'--out={evaluated}', cache=cache
  )
  longer_output = programs.finish(longer)
  again = _train(runs.killed, cache)
  return Sequels(
      prolonged,
      longer_output,
      programs.finish(again),
      evaluated,
      programs.finish(evaluation),
  )


def _train(workdir, cache, *arguments):
  return programs.start(
      'train.py',
      programs.CONFIG,
      f'--workdir={workdir}',
      *arguments,
      cache=cache,
  )


def _train_and_kill(workdir, cache):
  """Kills a run when it has a second checkpoint; the checkpoints it left."""
  process = _train(workdir, cache)
  folder = workdir / 'checkpoints'
  while process.poll() is None and not (folder / '4').exists():
    time.sleep(0.01)
  process.kill()
  _, errors = process.communicate(timeout=60)
  assert process.returncode == -signal.SIGKILL, errors
  return {path.name for path in folder.iterdir()}


def _state(workdir):
  """Every array of the last state of a run."""
  folder = epath.Path(workdir) / 'checkpoints' / '8' / 'state'
  return ocp.PyTreeCheckpointer().restore(folder)


def _curves(workdir):
  """The records of a run, without how fast it was."""
  records = metrics.read_metrics(workdir / metrics.FILE)
  return [
      {k: v for k, v in record.items() if k != 'images_per_second'}
      for record in records
  ]


def test_a_killed_run_ends_with_the_state_of_an_undisturbed_one(runs):
  assert '4' in runs.left and '8' not in runs.left
  assert f'continuing {runs.killed} at step' in runs.resumed_output
  straight, killed = _state(runs.straight), _state(runs.killed)
  assert {'params', 'opt_state', 'ema', 'step'} <= set(straight)
  assert straight['step'] == 8
  jax.tree.map(np.testing.assert_array_equal, straight, killed)
  moved = jax.tree.map(
      lambda a, b: bool((a != b).any()), straight['params'], straight['ema']
  )
  assert sum(jax.tree.leaves(moved)) > 100


def test_a_killed_run_records_every_step_once_with_the_same_numbers(runs):
  straight, killed = _curves(runs.straight), _curves(runs.killed)
  assert [record['step'] for record in straight] == list(range(1, 9))
  assert killed == straight
  assert set(CURVES) <= set(straight[-1])
  losses = [record['loss'] for record in straight]
  assert np.isfinite(losses).all() and len(set(losses)) == 8


def test_a_finished_run_is_left_alone(runs, sequels):
  assert f'{runs.killed} is finished at step 8' in sequels.again_output
  assert 'raise --config.steps' in sequels.again_output
  assert len(_curves(runs.killed)) == 8
  assert not (runs.killed / 'checkpoints' / '9').exists()


def test_a_longer_schedule_goes_on_where_the_run_ended(runs, sequels):
  message = f'continuing {sequels.prolonged} at step 8 of 10'
  assert message in sequels.prolonged_output
  records = _curves(sequels.prolonged)
  assert [record['step'] for record in records] == list(range(1, 11))
  assert records[:8] == _curves(runs.straight)
  names = {p.name for p in (sequels.prolonged / 'checkpoints').iterdir()}
  assert '10' in names


def test_a_workdir_tells_what_was_trained_on_what(runs):
  config = configuring.load(runs.straight)
  assert config == tiny_config.get_config()
  table = (runs.straight / 'parameters.txt').read_text()
  assert 'backbone/patch_embed' in table and 'total' in table
  with Image.open(runs.straight / 'inputs.png') as picture:
    assert min(picture.size) > 64


@pytest.mark.parametrize('folder', ['training', 'eval.py'])
def test_an_evaluation_leaves_numbers_predictions_and_pictures(
    runs, sequels, folder
):
  paths = {'training': runs.straight / 'eval', 'eval.py': sequels.evaluated}
  path = paths[folder]
  results = json.loads((path / 'metrics.json').read_text())
  assert set(results) == {'val', 'relations'}
  for name in results:
    rows = json.loads((path / name / 'predictions.json').read_text())
    assert {'image_id', 'bbox', 'score'} <= set(rows[0])
    with Image.open(path / name / 'pictures.png') as picture:
      assert min(picture.size) > 64


def test_eval_finds_what_the_training_run_found(runs, sequels):
  for file in ('metrics.json', 'val/predictions.json'):
    trained = json.loads((runs.straight / 'eval' / file).read_text())
    evaluated = json.loads((sequels.evaluated / file).read_text())
    assert evaluated == trained


def test_eval_prints_the_twelve_numbers_of_coco(runs, sequels):
  checkpoint = runs.killed / 'checkpoints' / '8'
  assert f'checkpoint {checkpoint}' in sequels.evaluated_output
  lines = sequels.evaluated_output.splitlines()
  start = lines.index('val') + 1
  names = lines[start].split() + lines[start + 2].split()
  numbers = lines[start + 1].split() + lines[start + 3].split()
  assert names == 'AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl'.split()
  assert len(numbers) == 12
  assert all(x == '-' or 0 <= float(x) <= 100 for x in numbers)
