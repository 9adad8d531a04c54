"""eval.py takes a file of weights as it is, without a training run."""

import json
import subprocess
import sys

import golden_weights
import jax
import programs
import pytest

from configs import coco
from glip_jax import run, serving
from glip_jax.detectors import recipe as recipes
from glip_jax.detectors.glip import official_weights as glip
from glip_jax.evaluators import evaluation
from glip_jax.shapes import export
from glip_jax.shapes.source import open_world
from glip_jax.training import sharding
from glip_jax.weights import formats

SIDE = 64
SETTINGS = {
    'data.tokenizer': 'shapes',
    'data.num_tokens': 64,
    'data.num_phrases': 64,
    'data.num_workers': 0,
    'evals.val.batch_size': 1,
}


@pytest.fixture(scope='module')
def world(tmp_path_factory, golden):
  """A COCO folder of two images, and a .pth of a nano model's weights."""
  folder = tmp_path_factory.mktemp('world')
  source = open_world(
      'val', prompts={'all': 1}, seed=0, num_images=2, image_size=SIDE
  )
  export.write_coco(folder, source)
  state = golden_weights.official_state(golden / 'nano', 'nanoB')
  formats.write(
      folder / 'nano.pth', {f'module.{k}': x for k, x in state.items()}
  )
  return folder


def _overrides(folder):
  """Settings of the tiny evaluation, as flags take them."""
  return SETTINGS | {
      'data.image_size': (SIDE, SIDE),
      'data.resize': (SIDE, SIDE),
      'data.buckets': (),
      'evals.val.data.annotations': str(folder / 'annotations.json'),
      'evals.val.data.images': str(folder / 'images'),
  }


def _in_memory(folder, golden, out):
  """What the same model finds whose weights never were in a file."""
  config = coco.get_config('nanoB')
  config.update_from_flattened_dict(_overrides(folder))
  state = golden_weights.official_state(golden / 'nano', 'nanoB')
  config = run.read(config)
  detector = serving.load(
      recipes.build(config.model),
      lambda shapes: glip.from_official(state, shapes),
      sharding.make_mesh({'data': 1}, jax.devices()[:1]),
      data=config.data,
  )
  sources = evaluation.open_sources(config.evals, config.data)
  evaluation.evaluate(
      config.evals, detector, data=config.data, sources=sources, out=out
  )


@pytest.mark.large
def test_eval_finds_what_the_weights_find_in_memory(
    world, golden, compiled, tmp_path
):
  flags = [
      f'--config.{key}={value}' for key, value in _overrides(world).items()
  ]
  printed = programs.finish(
      programs.start(
          'eval.py',
          '--config=configs/coco.py:nanoB',
          f'--weights={world / "nano.pth"}',
          f'--out={tmp_path / "file"}',
          '--expect=val/AP=50+-50',
          *flags,
          cache=compiled,
          optimized=True,
      )
  )
  assert 'nano.pth' in printed and 'AP' in printed
  _in_memory(world, golden, tmp_path / 'memory')
  found, want = (
      json.loads((tmp_path / name / 'val/predictions.json').read_text())
      for name in ('file', 'memory')
  )
  assert len(found) == len(want) > 20
  for a, b in zip(found, want, strict=True):
    assert (a['image_id'], a['category_id']) == (
        b['image_id'],
        b['category_id'],
    )
    assert a['bbox'] == pytest.approx(b['bbox'], abs=1e-2)
    assert a['score'] == pytest.approx(b['score'], abs=1e-5)


def _refusal(*arguments):
  done = subprocess.run(
      [sys.executable, 'eval.py', *map(str, arguments)],
      cwd=programs.ROOT,
      capture_output=True,
      text=True,
  )
  assert done.returncode
  return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--weights=a.pth'], '--config is missing: say what --weights are of'),
        (['--weights=a.pth', '--workdir=runs/a'], 'give one of the two'),
        (
            ['--config=configs/coco.py:T', '--weights=a.pth', '--step=best'],
            '--step=best is of a --workdir',
        ),
        (['--workdir=runs/a', '--ema'], '--ema is of --weights'),
        (
            [
                '--config=configs/coco.py:T',
                '--weights=glip_t',
                '--expect=val/AP=46.6',
            ],
            "--expect='val/AP=46.6' must be EVALUATION/METRIC=PERCENT+-TOLER",
        ),
        (
            ['--config=configs/coco.py:T', '--weights=glip_x'],
            "'glip_x' is no released model: choose one of ['glip_l'",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_refused(arguments, message):
  assert message in _refusal(*arguments)
