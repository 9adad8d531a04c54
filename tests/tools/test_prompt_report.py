"""The command that compares prompts, with a stub for a detector."""

import json
import sys
import types as builtin_types

import numpy as np
import pytest
from absl import flags
from PIL import Image

from glip_jax import evaluating, types
from glip_jax.errors import UserError
from glip_jax.tools import prompt_report

NAMES = 'red circle', 'star'


class _Detector:
  """Finds the box of a class where one token alone names it."""

  def encode_image(self, batch):
    return len(batch.id)

  def ground(self, features, batch, prompt):
    score = (prompt.spans[0].sum(axis=1) == 1) * np.float32(0.9)
    score = np.repeat(score[None], features, axis=0)
    box = np.array([4, 4, 20, 20], np.float32)
    return types.Detections(
        boxes=np.broadcast_to(box, (*score.shape, 4)),
        scores=score,
        labels=np.broadcast_to(np.arange(score.shape[1]), score.shape),
        valid=score > 0,
    )


@pytest.fixture
def folder(tmp_path):
  """A set, prompts, and a file that stands for weights."""
  Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
  boxes = [
      dict(id=i, image_id=1, category_id=i, bbox=[4, 4, 16, 16]) for i in (1, 2)
  ]
  content = dict(
      images=[dict(id=1, file_name='a.png', width=64, height=64)],
      annotations=boxes,
      categories=[dict(id=i, name=n) for i, n in enumerate(NAMES, 1)],
  )
  files = {
      'all': content,
      'short': {'red circle': 'circle'},
      'far': {'red circle': 'circle', 'star': 'large star'},
      'wrong': {'red circl': 'circle'},
  }
  for name, each in files.items():
    (tmp_path / f'{name}.json').write_text(json.dumps(each))
  np.savez(tmp_path / 'weights.npz', a=np.zeros(1))
  return tmp_path


@pytest.fixture
def run(folder, monkeypatch):
  """Runs the command on the set."""

  def run(*arguments):
    values = flags.FlagValues()
    # Fields of a config are declared from the command line itself.
    argv = [
        'prompt_report',
        '--config=tests/tiny_config.py',
        f'--weights={folder / "weights.npz"}',
        f'--out={folder / "out"}',
        f'--config.evals.val.data.annotations={folder / "all.json"}',
        '--config.evals.val.data.source=coco',
        '--config.compilation_cache=off',
        *arguments,
    ]
    monkeypatch.setattr(sys, 'argv', argv)
    prompt_report.define_flags(values)
    values(argv)
    # Of this module alone: grain reads flags of its own.
    own = builtin_types.SimpleNamespace(FLAGS=values)
    detector = lambda told: _Detector()
    with monkeypatch.context() as patched:
      patched.setattr(prompt_report, 'flags', own)
      patched.setattr(evaluating.Told, 'detector', detector)
      prompt_report.main([])

  return run


def test_each_file_has_a_row_and_all_its_numbers(run, folder, capsys):
  files = f'{folder / "short.json"},{folder / "far.json"}'
  run(f'--variants={files}', '--permutations=2')
  printed = capsys.readouterr().out
  rows = {line.split()[0]: line.split() for line in printed.split('\n') if line}
  assert rows['short'] == ['short', *['100.0'] * 2, '0.0', *['100.0'] * 2]
  assert rows['as'][2] == rows['far'][1] == '50.0'
  report = json.loads((folder / 'out' / 'prompt_report.json').read_text())
  assert set(report) == {'val'} and report['val']['metric'] == 'AP'
  short = report['val']['variants']['short']
  assert short['values'] == pytest.approx([1, 1, 1])
  assert short['metrics']['AP50'] == pytest.approx(1)


def test_what_cannot_be_compared_is_refused_before_work(run, folder):
  with pytest.raises(UserError, match='--variants and --permutations are miss'):
    run()
  with pytest.raises(UserError, match="--variants='no.json' is not a file"):
    run('--variants=no.json')
  with pytest.raises(UserError, match="wrong on evals.val: 'red circl' is not"):
    run(f'--variants={folder / "wrong.json"}')
  with pytest.raises(UserError, match='evals.val.views.on=True looks'):
    run('--permutations=1', '--config.evals.val.views.on=True')
