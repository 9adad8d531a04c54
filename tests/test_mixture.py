"""A training on three sources, killed and gone on with by others.

Sources: chess416 as detection, coco_captions100 as grounding, and the embedded
world through ODVG.
"""

import collections
import json
import pathlib
import signal
import socket
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import programs
import pytest
from PIL import Image

from glip_jax.data.sources import table

RECORDED = pathlib.Path(__file__).with_name('recorded_run.py')
STEPS, EVERY = 16, 4  # Of the config.
NUM_WORLD = 60


@pytest.fixture(scope='module')
def world(tmp_path_factory):
  """Folder of the embedded world as grounding records of ODVG."""
  folder = tmp_path_factory.mktemp('world')
  source = table.open_source(
      dict(
          source='shapes',
          split='train',
          num_images=NUM_WORLD,
          image_size=64,
          prompts=dict(caption=1.0),
      )
  )
  with (folder / 'world.jsonl').open('w') as file:
    for index in range(len(source)):
      file.write(json.dumps(_grounding(source[index], folder)) + '\n')
  return folder


def _grounding(record, folder):
  """An ODVG record; its image is written."""
  name = f'{record.index}.png'
  Image.fromarray(record.image).save(folder / name)
  height, width = record.image.shape[:2]
  text = record.text
  regions = [
      dict(
          bbox=box.tolist(),
          phrase=text.phrases[phrase],
          tokens_positive=[list(span) for span in text.spans[phrase]],
      )
      for box, phrase in zip(record.boxes, record.phrase, strict=True)
      if phrase >= 0
  ]
  grounding = dict(caption=text.caption, regions=regions)
  return dict(filename=name, height=height, width=width, grounding=grounding)


class Trainings:
  """Starts trainings, each with its own list of records."""

  def __init__(self, folder, shared, world):
    self._folder = folder
    self._config = f'--config=tests/mixture_config.py:{shared},{world}'

  def start(self, name, *arguments, process=None):
    """A process of a training in the workdir of a name."""
    number, options = 0, []
    if process is not None:
      address, number = process
      options = [f'--address={address}', f'--process={number}']
    return programs.start(
        RECORDED,
        self.records(name, number),
        *options,
        self._config,
        f'--workdir={self.workdir(name)}',
        *arguments,
        cache=self._folder / 'cache',
    )

  def start_two(self, name):
    """Two processes with a device each."""
    with socket.socket() as free:
      free.bind(('localhost', 0))
      address = f'localhost:{free.getsockname()[1]}'
    return [self.start(name, process=(address, number)) for number in range(2)]

  def start_and_kill(self, name, step):
    """Kills a training that has the checkpoint of a step; the last it left."""
    process = self.start(name)
    folder = self.workdir(name) / 'checkpoints'
    while process.poll() is None and not (folder / str(step)).exists():
      time.sleep(0.01)
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    self.records(name).unlink()
    return max(int(p.name) for p in folder.iterdir() if p.name.isdigit())

  def workdir(self, name):
    return self._folder / name

  def records(self, name, number=0):
    return self._folder / f'{name}{number}.jsonl'

  def steps(self, name, number=0):
    """The records that a process got at each step."""
    lines = self.records(name, number).read_text().splitlines()
    return [[tuple(row) for row in json.loads(line)] for line in lines]

  def state(self, name):
    """All arrays of the last checkpoint."""
    path = self.workdir(name) / 'checkpoints' / str(STEPS) / 'state'
    with ocp.PyTreeCheckpointer() as reader:
      return reader.restore(path)


@pytest.mark.large
def test_a_mixture_goes_on_with_other_workers_and_processes(
    shared, world, tmp_path
):
  runs = Trainings(tmp_path, shared, world)
  programs.finish(runs.start('straight'))
  straight = runs.steps('straight')
  assert len(straight) == STEPS
  # A pass is longer than the run: no record comes twice.
  counts = collections.Counter(row for step in straight for row in step)
  assert counts.total() == STEPS * 8 and max(counts.values()) == 1

  began = runs.start_and_kill('killed', 2 * EVERY)
  programs.finish(runs.start('killed', '--config.data.num_workers=2'))
  assert runs.steps('killed') == straight[began:]
  jax.tree.map(
      np.testing.assert_array_equal,
      runs.state('killed'),
      runs.state('straight'),
  )

  began = runs.start_and_kill('shared', EVERY)
  for process in runs.start_two('shared'):
    programs.finish(process)
  parts = [runs.steps('shared', i) for i in range(2)]
  together = [sorted(a + b) for a, b in zip(*parts, strict=True)]
  assert together == [sorted(step) for step in straight[began:]]
