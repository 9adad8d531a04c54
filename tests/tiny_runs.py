"""Runs of train.py and eval.py on the tiny config, shared by the tests.

Most run one after the other: each finds compiled what the one before compiled,
and the other core has tests of its own.
"""

import dataclasses
import pathlib
import shutil
import signal
import time

import programs
import pytest

STEPS = 8  # Of the config.
MORE_STEPS = 11


@dataclasses.dataclass
class Runs:
  """Folders and output of complete runs.

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


@dataclasses.dataclass
class Sequels:
  """What is done with the workdirs of complete runs.

  Attributes:
    longer: copy of the straight one that was given `MORE_STEPS` and no
      evaluation.
    longer_output: what that printed.
    again_output: what the command of the killed one prints when it is done.
    evaluated: folder that eval.py wrote, given the killed one.
    evaluated_output: what it printed.
  """

  longer: pathlib.Path
  longer_output: str
  again_output: str
  evaluated: pathlib.Path
  evaluated_output: str


@pytest.fixture(scope='session')
def compiled(tmp_path_factory):
  """Folder of the compiled code of all runs."""
  return tmp_path_factory.mktemp('xla')


@pytest.fixture(scope='session')
def runs(tmp_path_factory, compiled):
  """A straight run, and one that was killed and started again."""
  folder = tmp_path_factory.mktemp('runs')
  killed = folder / 'killed'
  left = _train_and_kill(killed, compiled)
  programs.finish(_train(folder / 'straight', compiled))
  resumed_output = programs.finish(_train(killed, compiled))
  return Runs(folder / 'straight', killed, left, resumed_output)


@pytest.fixture(scope='session')
def sequels(runs, tmp_path_factory, compiled):
  """A longer run, one of nothing left to do, and an evaluation."""
  folder = tmp_path_factory.mktemp('sequels')
  longer, evaluated = folder / 'longer', folder / 'evaluated'
  evaluation = programs.start(
      'eval.py',
      f'--workdir={runs.killed}',
      f'--out={evaluated}',
      cache=compiled,
  )
  longer_output = programs.finish(_go_on(runs, longer, compiled))
  again = _train(runs.killed, compiled)
  evaluated_output = programs.finish(evaluation)
  return Sequels(
      longer,
      longer_output,
      programs.finish(again),
      evaluated,
      evaluated_output,
  )


@dataclasses.dataclass
class Stopped:
  """A run that was asked to end, beside a second one in its workdir.

  Attributes:
    workdir: of both.
    status: of the first.
    errors: what the first said.
    refusal: what the second said.
  """

  workdir: pathlib.Path
  status: int
  errors: str
  refusal: str


@pytest.fixture(scope='session')
def stopped(runs, tmp_path_factory, compiled):
  """A long run that SIGTERM ends."""
  workdir = tmp_path_factory.mktemp('stopped') / 'run'
  start = lambda: _train(
      workdir, compiled, '--config.steps=100000', evals='none'
  )
  first = start()
  while first.poll() is None and not (workdir / 'metrics.jsonl').exists():
    time.sleep(0.01)
  second = start()
  _, refusal = second.communicate(timeout=300)
  assert second.returncode == 1
  first.send_signal(signal.SIGTERM)
  _, errors = first.communicate(timeout=300)
  return Stopped(workdir, first.returncode, errors, refusal)


@pytest.fixture(scope='session')
def eight(runs, tmp_path_factory, compiled):
  """Workdir of the longer run on eight simulated devices."""
  folder = tmp_path_factory.mktemp('eight') / 'longer'
  fsdp = '--config.mesh.fsdp=2'
  programs.finish(_go_on(runs, folder, compiled, fsdp, devices=8))
  return folder


def _go_on(runs, folder, compiled, *arguments, devices=1):
  """Starts a copy of the straight run on more steps."""
  shutil.copytree(runs.straight, folder)
  return _train(
      folder,
      compiled,
      f'--config.steps={MORE_STEPS}',
      *arguments,
      devices=devices,
      evals='none',
  )


def _train(workdir, compiled, *arguments, devices=1, evals='all'):
  return programs.start(
      'train.py',
      f'--config=tests/tiny_config.py:{evals}',
      f'--workdir={workdir}',
      *arguments,
      cache=compiled,
      devices=devices,
  )


def _train_and_kill(workdir, compiled):
  """Kills a run when it has a second checkpoint; the checkpoints it left."""
  process = _train(workdir, compiled)
  folder = workdir / 'checkpoints'
  while process.poll() is None and not (folder / '4').exists():
    time.sleep(0.01)
  process.kill()
  _, errors = process.communicate(timeout=60)
  assert process.returncode == -signal.SIGKILL, errors
  return {path.name for path in folder.iterdir()}
