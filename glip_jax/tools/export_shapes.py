"""Writes the embedded world to disk, to try other loaders and tools on it.

  python -m glip_jax.tools.export_shapes --out=/tmp/shapes --format=coco \
      --split=val --num_images=100
"""

import sys

from absl import app, flags

from glip_jax import errors
from glip_jax.data import shapes, shapes_export

_OUT = flags.DEFINE_string('out', None, 'Folder to write to.', required=True)
_FORMAT = flags.DEFINE_enum(
    'format', 'coco', ['coco', 'mdetr', 'tfds'], 'What to write.'
)
_SPLIT = flags.DEFINE_enum(
    'split', 'train', shapes.SPLITS, 'Split to write; tfds has all of them.'
)
_NUM_IMAGES = flags.DEFINE_integer('num_images', 1000, 'Pictures per split.')
_IMAGE_SIZE = flags.DEFINE_integer('image_size', 256, 'Side in pixels.')
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of the world.')
_PROMPT = flags.DEFINE_enum(
    'prompt', 'caption', shapes.PROMPTS, 'Kind of prompt in format mdetr.'
)


def main(_) -> None:
  try:
    print(_write())
  except errors.UserError as error:
    sys.exit(f'error: {error}')


def _write() -> str:
  """Writes what the flags say; returns where it is."""
  settings = dict(
      seed=_SEED.value,
      num_images=_NUM_IMAGES.value,
      image_size=_IMAGE_SIZE.value,
  )
  if _FORMAT.value == 'tfds':
    return _write_tfds(settings)
  kind = 'all' if _FORMAT.value == 'coco' else _PROMPT.value
  source = shapes.ShapesSource(_SPLIT.value, prompts={kind: 1}, **settings)
  write = {
      'coco': shapes_export.write_coco,
      'mdetr': shapes_export.write_mdetr,
  }[_FORMAT.value]
  return str(write(_OUT.value, source))


def _write_tfds(settings: dict[str, int]) -> str:
  # tensorflow_datasets takes seconds to import: only where it is asked for.
  from glip_jax.data.shapes_tfds import Shapes

  builder = Shapes(data_dir=_OUT.value, **settings)
  builder.download_and_prepare()
  return str(builder.data_dir)


if __name__ == '__main__':
  app.run(main)
