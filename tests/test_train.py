"""train.py and eval.py end to end: killed, resumed, prolonged, evaluated.

And on a mesh of eight simulated devices, which computes what one computes.
All that shares the runs is in this file, for a process runs whole files.
"""

import json
import re

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny_config
import tiny_runs
from etils import epath
from PIL import Image

from glip_jax import configuring, fields, run
from glip_jax.evaluators import matches
from glip_jax.training import checkpoint_files, metrics

# tests/detectors/test_families.py runs the same course without a kill.
pytestmark = pytest.mark.slow

TIMES = ('images_per_second', 'data_wait')
CURVES = (
    'loss',
    'loss_token',
    'grad_norm',
    'param_norm',
    'lr',
    'val/AP',
    'padding',
)


def _state(workdir):
  """Every array of the last state of a run."""
  folder = epath.Path(workdir) / 'checkpoints' / '8' / 'state'
  return jax.tree.map(np.asarray, ocp.PyTreeCheckpointer().restore(folder))


def _curves(workdir):
  """The records of a run, without how fast it was."""
  records = metrics.read_metrics(workdir / metrics.FILE)
  return [
      {k: v for k, v in record.items() if k not in TIMES} for record in records
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


def test_sigterm_saves_the_step_and_a_second_run_is_refused(stopped):
  step = checkpoint_files.latest_step(stopped.workdir)
  steps = metrics.read_metrics(stopped.workdir / metrics.FILE)[-1]['step']
  assert stopped.status == 143
  saved = stopped.workdir / 'checkpoints' / str(step)
  line = f'stopped at step {step}, saved in {saved}; the same command goes on'
  assert step == steps > 0 and line in stopped.errors
  assert 'Traceback' not in stopped.errors + stopped.refusal
  assert re.fullmatch(
      r"error: workdir='.*' is in use by process \d+ on .*\n", stopped.refusal
  )


def test_a_finished_run_is_left_alone(runs, sequels):
  assert f'{runs.killed} is finished at step 8' in sequels.again_output
  assert 'raise --config.steps' in sequels.again_output
  assert len(_curves(runs.killed)) == 8
  assert not (runs.killed / 'checkpoints' / '9').exists()


def test_a_longer_schedule_goes_on_where_the_run_ended(runs, sequels):
  message = f'continuing {sequels.longer} at step 8 of 11'
  assert message in sequels.longer_output
  records = _curves(sequels.longer)
  assert [record['step'] for record in records] == list(range(1, 12))
  assert records[:8] == _curves(runs.straight)
  names = {p.name for p in (sequels.longer / 'checkpoints').iterdir()}
  assert '11' in names


def test_a_workdir_tells_what_was_trained_on_what(runs):
  given = fields.to_dict(run.read(tiny_config.get_config()))
  assert configuring.load(runs.straight) == json.loads(json.dumps(given))
  table = (runs.straight / 'parameters.txt').read_text()
  assert 'backbone/patch_embed' in table and 'total' in table
  with Image.open(runs.straight / 'inputs.png') as sheet:
    assert min(sheet.size) > 64


@pytest.mark.parametrize('folder', ['training', 'eval.py'])
def test_an_evaluation_leaves_numbers_predictions_and_drawings(
    runs, sequels, folder
):
  paths = {'training': runs.straight / 'eval', 'eval.py': sequels.evaluated}
  path = paths[folder]
  results = json.loads((path / 'metrics.json').read_text())
  assert set(results) == {'val', 'relations'}
  for name in results:
    rows = json.loads((path / name / 'predictions.json').read_text())
    assert {'image_id', 'bbox', 'score'} <= set(rows[0])
    with Image.open(path / name / 'predictions.png') as sheet:
      assert min(sheet.size) > 64
  assert matches.read(path / 'val' / matches.FILE).names
  assert not (path / 'unfinished').exists()


def test_eval_leaves_a_page_that_says_what_it_is_about(sequels):
  page = (sequels.evaluated / 'report.html').read_text()
  assert f'--out={sequels.evaluated}' in page
  assert re.search(r'glip, [\d,]+ parameters', page)
  assert '>val</h2>' in page and '>relations</h2>' in page


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


# A minute to compile; tests of checkpoints see to eight devices in seconds.
@pytest.mark.large
def test_eight_devices_train_as_one_does(sequels, eight):
  one, eight = _steps_more(sequels.longer), _steps_more(eight)
  assert [record['step'] for record in one] == [9, 10, 11]
  for name, tolerance in (('loss', 1e-5), ('grad_norm', 1e-4)):
    np.testing.assert_allclose(
        [record[name] for record in eight],
        [record[name] for record in one],
        rtol=tolerance,
        err_msg=name,
    )


@pytest.mark.large
def test_parameters_are_split_over_the_mesh(sequels, eight):
  one, eight = _specs(sequels.longer), _specs(eight)
  assert not any('fsdp' in spec for spec in one.values())
  for part in ('params', 'ema', 'opt_state'):
    assert any(part in name for name, spec in eight.items() if 'fsdp' in spec)


def _steps_more(workdir):
  """The steps that were done after those of the straight run."""
  return [x for x in _curves(workdir) if x['step'] > tiny_runs.STEPS]


def _specs(workdir):
  """How the arrays of the last state were split, by name."""
  folder = epath.Path(workdir) / 'checkpoints' / str(tiny_runs.MORE_STEPS)
  leaves = checkpoint_files.shapes(folder)
  return {
      name: str(leaf.sharding.partition_spec) for name, leaf in leaves.items()
  }
