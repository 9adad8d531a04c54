"""Writes the embedded world to disk, to try other loaders and tools on it.

  python -m glip_jax.tools.export_shapes --out=/tmp/shapes --format=coco \
      --split=val --num_images=100
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import os
from collections.abc import Sequence

from absl import flags

from glip_jax import configuring, errors, storage
from glip_jax.shapes import export
from glip_jax.shapes.arguments import PROMPTS
from glip_jax.shapes.source import SPLITS, open_world


def main(_: Sequence[str]):
  """Runs the command line."""
  if not flags.FLAGS.out:
    raise errors.UserError('--out is missing: give a folder to write to')
  flags.FLAGS.out = os.path.expanduser(flags.FLAGS.out)
  storage.check_folder('out', flags.FLAGS.out)
  print(_write())


def _write() -> str:
  """Writes what the flags say; returns where it is."""
  settings = dict(
      seed=flags.FLAGS.seed,
      num_images=flags.FLAGS.num_images,
      image_size=flags.FLAGS.image_size,
  )
  if flags.FLAGS.format == 'tfds':
    return _write_tfds(settings)
  kind = 'all' if flags.FLAGS.format == 'coco' else flags.FLAGS.prompt
  source = open_world(flags.FLAGS.split, prompts={kind: 1}, **settings)
  write = {
      'coco': export.write_coco,
      'mdetr': export.write_mdetr,
  }[flags.FLAGS.format]
  return str(write(flags.FLAGS.out, source))


def _write_tfds(settings: dict[str, int]) -> str:
  # tensorflow_datasets takes seconds to import: only where it is asked for.
  from glip_jax.shapes.tfds import Shapes

  builder = Shapes(data_dir=flags.FLAGS.out, **settings)
  builder.download_and_prepare()
  return str(builder.data_dir)


def _define_flags() -> None:
  flags.DEFINE_string('out', None, 'Folder to write to.')
  flags.DEFINE_enum(
      'format', 'coco', ['coco', 'mdetr', 'tfds'], 'What to write.'
  )
  flags.DEFINE_enum(
      'split', 'train', SPLITS, 'Split to write; tfds has all of them.'
  )
  flags.DEFINE_integer('num_images', 1000, 'Images per split.')
  flags.DEFINE_integer('image_size', 256, 'Side in pixels.')
  flags.DEFINE_integer('seed', 0, 'Seed of the world.')
  flags.DEFINE_enum(
      'prompt', 'caption', PROMPTS, 'Kind of prompt in format mdetr.'
  )


if __name__ == '__main__':
  _define_flags()
  configuring.run(main)
