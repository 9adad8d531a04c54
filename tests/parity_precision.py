"""How much of what float32 detects bfloat16 detects too.

    python tests/parity_precision.py nanoA nanoB nanoL A B L
    python tests/parity_precision.py --workdir=runs/shapes [--images=100]

A detection of float32 counts as kept if one of bfloat16 (each serves once) has
its phrase, an IoU over 0.9 with it and a score within 0.02. Models are those
of the reference with weights that a rule makes, on its two pictures and two
prompts, or what --workdir was trained to, on the pictures of its evaluations.
Rule-made weights detect whatever is near the threshold, so they are the harder
test. The share of bfloat16's detections that float32 has is printed too.
"""

import argparse
import functools
import sys
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np
import parity_detections
import parity_reference as reference_lib
from etils import epath

from glip_jax import configuring
from glip_jax.data import pipeline
from glip_jax.detectors.glip import config as variants
from glip_jax.detectors.glip import recipe as build
from glip_jax.evaluators import evaluation
from glip_jax.ops import boxes as box_ops
from glip_jax.training import checkpoint_files, serving, sharding

MIN_IOU, MAX_SCORE = 0.9, 0.02
DTYPES = ('float32', 'bfloat16')

Found = parity_detections.Found


def num_kept(wanted: Found, offered: Found) -> int:
  """How many of the wanted detections are among the offered, one to one."""
  overlaps = np.asarray(
      box_ops.pairwise_iou(
          *(jax.numpy.asarray(x[0], np.float32) for x in (wanted, offered)),
          offset=1.0,
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
  """(float32, bfloat16) detections of each stored picture and prompt."""
  _, params = reference_lib.model(name)
  config = variants.to_config(name)
  reference = reference_lib.reference(name)
  predict = {}
  for dtype in DTYPES:
    config.dtype = dtype
    predict[dtype] = _predict(build.build(config))
  for prefix in ('det', 'grd'):
    spans, names = reference_lib.positive_map(
        reference[f'{prefix}_positive_map_json']
    )
    spans = np.broadcast_to(spans, (2, *spans.shape))
    batch = reference_lib.prompt_batch(name, prefix, spans)
    image = reference_lib.image(name)
    found = [predict[dtype](params, image, batch) for dtype in DTYPES]
    for i in range(2):
      yield tuple(parity_detections.labelled(x, i, names) for x in found)


def _predict(recipe: build.Recipe):
  """Compiled: params, normalised image, batch -> detections."""

  def predict(params, image, batch):
    ids, mask = batch.prompt.ids, batch.prompt.mask
    outputs = recipe.model.apply(
        {'params': params}, image, batch.extent, ids, mask
    )
    return recipe.decode(outputs, batch)

  return jax.jit(predict)


def of_workdir(
    workdir: epath.Path, step: str, images: int
) -> Iterator[tuple[Found, ...]]:
  """(float32, bfloat16) detections of the pictures of a run's evaluations."""
  config = configuring.load(workdir)
  folder = checkpoint_files.find(workdir, step)
  predict = [_restore(config, folder, dtype) for dtype in DTYPES]
  for name, source in evaluation.open_sources(config).items():
    batches = pipeline.eval_batches(
        source, config.data, batch_size=config.evals[name].batch_size
    )
    done = 0
    for batch in batches:
      found = [jax.tree.map(np.asarray, run(batch)) for run in predict]
      for row in np.flatnonzero(np.asarray(batch.id) >= 0)[: images - done]:
        names = np.arange(batch.prompt.spans.shape[1])
        yield tuple(parity_detections.labelled(x, row, names) for x in found)
        done += 1
      if done >= images:
        break


def _restore(config: ml_collections.ConfigDict, folder, dtype: str):
  """batch -> detections of a checkpoint, computed in a type."""
  model = ml_collections.ConfigDict(config.model)
  model.dtype = dtype
  return serving.make_predict(
      build.build(model),
      functools.partial(checkpoint_files.restore_params, folder),
      sharding.make_mesh({'data': -1}, jax.devices()[:1]),
      data=config.data,
      table=config.sharding,
  )


def line(what: str, pairs: Iterator[tuple[Found, ...]]) -> str:
  """Shares over all pictures, and the largest change of a kept score."""
  counts, kept, found = np.zeros(2, int), 0, 0
  for single, half in pairs:
    counts += len(single[0]), len(half[0])
    kept += num_kept(single, half)
    found += num_kept(half, single)
  share = kept / max(counts[0], 1)
  return (
      f'{what}: {share:.1%} of {counts[0]} float32 detections are kept by'
      f' bfloat16; {found / max(counts[1], 1):.1%} of its {counts[1]} are'
      " float32's"
  )


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('names', nargs='*')
  parser.add_argument('--workdir', type=epath.Path, help='of a training run')
  parser.add_argument('--step', default='best', help='latest, best or number')
  parser.add_argument('--images', type=int, default=100, help='at most')
  args = parser.parse_args()
  if args.workdir:
    pairs = of_workdir(args.workdir.expanduser(), args.step, args.images)
    print(line(str(args.workdir), pairs), flush=True)
  for name in args.names:
    print(line(name, of_reference(name)), flush=True)
    reference_lib.forget()
  return 0


if __name__ == '__main__':
  sys.exit(main())
