"""Runs that break: they stop, or skip, and nothing broken is saved."""

import dataclasses
import functools

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import toy_training

from glip_jax import configuring
from glip_jax.errors import UserError
from glip_jax.training import checkpoint_files, sharding


@dataclasses.dataclass(frozen=True)
class Breaking(toy_training.ToyRecipe):
  """Has a loss that is not finite where a scale of the batch is not."""

  def loss(self, outputs, batch):
    error, parts = super().loss(outputs, batch)
    return error * batch.scale.mean(), parts


@functools.cache
def _batches():
  """The batches of a run."""
  stream = iter(toy_training.dataset(num_workers=0))
  return [next(stream) for _ in range(toy_training.STEPS)]


def _ids(step):
  """Of the records in the batch of a step, counted from 1."""
  return _batches()[step - 1].id.tolist()


@functools.cache
def _run(**options):
  """What all runs of these settings are made of."""
  config = toy_training.OPTIMIZER | options
  return toy_training.prepare(Breaking(), jax.devices()[:1], config)


def _train(folder, *steps, **options):
  """Trains on data with a bad record in the batches of the given steps."""
  bad = [_ids(step)[0] for step in steps]
  assert all(step <= 5 for step in steps), 'in the first pass over the data'

  def spoil(batch):
    is_bad = np.isin(batch.id, bad)[:, None]
    return batch.replace(scale=np.where(is_bad, np.nan, batch.scale))

  run = _run(**options)
  # The run gives its memory to the first step: leave it as it is.
  run = dataclasses.replace(run, init=jax.tree.map(jax.numpy.copy, run.init))
  return toy_training.train(
      folder,
      data=toy_training.dataset(num_workers=0).map(spoil),
      run=run,
      skip_nonfinite=options.get('skip_nonfinite', 0),
  )


def _saved(folder):
  """Steps of the checkpoints, after making sure that they are finite."""
  steps = []
  for path in (folder / 'checkpoints').iterdir():
    assert path.name.isdigit(), f'{path} is unfinished'
    tree = ocp.PyTreeCheckpointer().restore(path / 'state')
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(tree))
    steps.append(int(path.name))
  return sorted(steps)


@pytest.mark.parametrize('step, good', [(3, 2), (4, 2), (5, 4)])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, step, good):
  """Also where the step is one after which a checkpoint is due."""
  with pytest.raises(UserError) as error:
    _train(tmp_path, step)
  message = str(error.value)
  assert message.startswith(f'step {step}: loss=nan, grad_norm=nan, ')
  assert f'records {_ids(step)};' in message
  assert f'{tmp_path}/checkpoints/{good} is the last good' in message
  assert 'config.optimizer.skip_nonfinite' in message
  assert '\n' not in message
  assert max(_saved(tmp_path)) == good


def test_who_allows_skipping_goes_on_where_the_run_stopped(tmp_path):
  with pytest.raises(UserError, match='^step 4: .*skip_nonfinite'):
    _train(tmp_path, 4)
  _, final, start, losses = _train(tmp_path, 4, skip_nonfinite=1)
  assert (start, final.step) == (2, toy_training.STEPS)
  assert np.isnan(losses[1]) and final.skips.total == 1


def test_a_run_that_breaks_before_its_first_checkpoint_says_so(tmp_path):
  with pytest.raises(UserError, match='step 1: .*no checkpoint was saved'):
    _train(tmp_path, 1)
  assert _saved(tmp_path) == []


def test_parameters_that_are_not_finite_stop_the_run(tmp_path):
  """Though loss and gradients are finite. The first step has rate 0."""
  with pytest.raises(UserError, match=r'^step 2: param_norm=(inf|nan) in'):
    _train(tmp_path, lr=3e38)
  assert _saved(tmp_path) == []


def test_the_program_ends_with_one_line_and_status_one(
    tmp_path, capsys, monkeypatch
):
  def main(_):
    _train(tmp_path, 3)

  monkeypatch.setattr(configuring.app, 'run', lambda run, **_: run([]))

  with pytest.raises(SystemExit) as end:
    configuring.run(main)
  assert end.value.code == 1
  lines = capsys.readouterr().err.splitlines()
  assert [x for x in lines if x.startswith('error: step 3: loss=nan')]


def test_a_skipped_step_is_as_if_its_batch_had_not_been(tmp_path):
  run, final, _, losses = _train(tmp_path, 4, skip_nonfinite=1)
  assert np.isnan(losses[3]) and np.isfinite(losses[:3] + losses[4:]).all()
  assert final.step == toy_training.STEPS
  assert (final.skips.total, final.skips.in_a_row) == (1, 0)
  assert _saved(tmp_path)[-1] == toy_training.STEPS
  # The same without the batch, the random mask of each step being the same.
  current = jax.tree.map(jax.numpy.copy, _run(skip_nonfinite=1).init)
  for number, batch in enumerate(_batches()):
    if number == 3:
      current = current.replace(step=current.step + 1)
      continue
    current, _ = run.step(current, sharding.put_batch(batch, run.mesh))
  for part in ('params', 'opt_state', 'ema'):
    jax.tree.map(
        np.testing.assert_array_equal,
        getattr(current, part),
        getattr(final, part),
    )


def test_more_skipped_steps_in_a_row_than_allowed_stop_the_run(tmp_path):
  with pytest.raises(UserError) as error:
    _train(tmp_path, 2, 4, 5, skip_nonfinite=1)
  message = str(error.value)
  assert message.startswith('step 5: loss=nan')
  assert f'records {_ids(5)};' in message
  assert '2 steps in a row' in message
  assert 'skip_nonfinite=1' in message
  # The state after the skipped step 4 is the good one of step 3.
  assert max(_saved(tmp_path)) == 4
  # Mended, the run goes on, and has not forgotten what it skipped.
  _, final, start, losses = _train(tmp_path, skip_nonfinite=1)
  assert start == 4 and len(losses) == 4
  assert (final.skips.total, final.skips.in_a_row) == (2, 0)
  last = checkpoint_files.find(tmp_path) / 'state'
  assert ocp.PyTreeCheckpointer().restore(last)['skips']['total'] == 2
