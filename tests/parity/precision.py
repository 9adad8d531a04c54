"""How much of what float32 detects bfloat16 detects too.

    python tests/parity precision nanoA nanoB nanoL A B L
    python tests/parity precision --workdir=runs/shapes [--images=100]

A detection of float32 counts as kept if one of bfloat16 (each serves once) has
its phrase, an IoU over 0.9 with it and a score within 0.02. Models are those
of the reference with weights that a rule makes, on its two images and two
prompts, or what --workdir was trained to, on the images of its evaluations.
Rule-made weights detect whatever is near the threshold, so they are the harder
test. The share of bfloat16's detections that float32 has is printed too.
"""

import argparse
import functools
from collections.abc import Iterator, Sequence

import abstract_models
import jax
import numpy as np
from etils import epath

from glip_jax import configuring, serving
from glip_jax import run as run_lib
from glip_jax.data import pipeline
from glip_jax.evaluators import evaluation
from glip_jax.ops import boxes as box_ops
from glip_jax.training import checkpoint, sharding, stored
from parity import detections, reference

MIN_IOU, MAX_SCORE = 0.9, 0.02
DTYPES = ('float32', 'bfloat16')

Found = detections.Found


def num_kept(wanted: Found, offered: Found) -> int:
  """How many of the wanted detections are among the offered, one to one."""
  overlaps = np.asarray(
      box_ops.pairwise_iou(
          *(jax.numpy.asarray(x[0], np.float32) for x in (wanted, offered))
      )
  )
  near = np.abs(wanted[1][:, None] - offered[1][None]) <= MAX_SCORE
  near &= wanted[2][:, None] == offered[2][None]
  near &= overlaps > MIN_IOU
  free = np.ones(len(offered[0]), bool)
  kept = 0
  # Best first, each takes the free one that it overlaps most.
  for row in np.argsort(-wanted[1], kind='stable'):
    choice = np.where(near[row] & free, overlaps[row], -1.0)
    if choice.size and choice.max() >= 0:
      free[choice.argmax()] = False
      kept += 1
  return kept


def of_reference(name: str) -> Iterator[tuple[Found, ...]]:
  """(float32, bfloat16) detections of each stored image and prompt."""
  _, params = reference.model(name)
  arrays = reference.stored(name)
  predict = [
      _predict(abstract_models.build(name, {'dtype': dtype}))
      for dtype in DTYPES
  ]
  for prefix in ('det', 'grd'):
    spans, names = reference.positive_map(arrays[f'{prefix}_positive_map_json'])
    spans = np.broadcast_to(spans, (2, *spans.shape))
    batch = reference.prompt_batch(name, prefix, spans)
    image = reference.image(name)
    found = [run(params, image, batch) for run in predict]
    for i in range(2):
      yield tuple(detections.labelled(x, i, names) for x in found)


def _predict(recipe):
  """Compiled: params, normalised image, batch -> detections."""

  def predict(params, image, batch):
    outputs = reference.apply(recipe.model, params, image, batch)
    return recipe.decode(outputs, batch)

  return jax.jit(predict)


def of_workdir(
    workdir: epath.Path, step: str, images: int
) -> Iterator[tuple[Found, ...]]:
  """(float32, bfloat16) detections of the images of a run's evaluations."""
  config = run_lib.read(configuring.load(workdir))
  folder = stored.find(workdir, step)
  detectors = [_restore(config, folder, dtype) for dtype in DTYPES]
  opened = evaluation.open_sources(config.evals, config.data)
  for name, source in opened.items():
    batches = pipeline.eval_batches(
        source, config.data, batch_size=config.evals[name].batch_size
    )
    done = 0
    for batch in batches:
      found = [jax.tree.map(np.asarray, d.detect(batch)) for d in detectors]
      for row in np.flatnonzero(np.asarray(batch.id) >= 0)[: images - done]:
        names = np.arange(batch.prompt.spans.shape[1])
        yield tuple(detections.labelled(x, row, names) for x in found)
        done += 1
      if done >= images:
        break


def _restore(config: run_lib.Run, folder, dtype: str):
  """The detector of a checkpoint, computed in a type."""
  return serving.load(
      abstract_models.build(config.model, {'dtype': dtype}),
      functools.partial(checkpoint.restore_params, folder),
      sharding.make_mesh({'data': -1}, jax.devices()[:1]),
      data=config.data,
      table=config.sharding,
  )


def line(what: str, pairs: Iterator[tuple[Found, ...]]) -> str:
  """Shares over all images; of no detections all are kept."""
  counts, kept, found = np.zeros(2, int), 0, 0
  for single, half in pairs:
    counts += len(single[0]), len(half[0])
    kept += num_kept(single, half)
    found += num_kept(half, single)
  shares = [
      part / whole if whole else 1.0
      for part, whole in zip((kept, found), counts, strict=True)
  ]
  return (
      f'{what}: {shares[0]:.1%} of {counts[0]} float32 detections are kept by'
      f" bfloat16; {shares[1]:.1%} of its {counts[1]} are float32's"
  )


def main(arguments: Sequence[str]) -> int:
  """Measures what the arguments name."""
  parser = argparse.ArgumentParser(
      prog='tests/parity precision',
      description=__doc__,
      formatter_class=argparse.RawTextHelpFormatter,
  )
  parser.add_argument('names', nargs='*', help='of models of the reference')
  parser.add_argument('--workdir', type=epath.Path, help='of a training run')
  parser.add_argument('--step', default='best', help='latest, best or number')
  parser.add_argument('--images', type=int, default=100, help='at most')
  args = parser.parse_args(arguments)
  if not args.names and not args.workdir:
    parser.error('nothing to measure: give models or --workdir')
  if args.workdir:
    pairs = of_workdir(args.workdir.expanduser(), args.step, args.images)
    print(line(str(args.workdir), pairs), flush=True)
  for name in args.names:
    print(line(name, of_reference(name)), flush=True)
    reference.forget()
  return 0
