"""The embedded world as a TensorFlow Datasets builder, without TensorFlow.

Prepared as ArrayRecord, it reads back through `tfds.data_source` with the
features of any detection set there: 'image', 'image/id' and 'objects' with
'bbox' (ymin, xmin, ymax, xmax as fractions), 'label' and 'is_crowd'.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from glip_jax.shapes.source import (
    HELD_OUT,
    SEEN,
    SPLITS,
    ShapesSource,
    open_world,
)


class Shapes(tfds.core.GeneratorBasedBuilder):
  """Splits 'train' and 'val' of seen compositions, 'heldout' of held-out."""

  VERSION = tfds.core.Version('1.0.0')
  # Finding the code's folder needs importlib_resources, which TFDS 4.9.10 does
  # not install; there are no checksums in that folder to be found.
  code_path = None

  def __init__(
      self,
      *,
      seed: int = 0,
      image_size: int = 128,
      num_images: int = 1000,
      **kwargs: Any,
  ):
    """Sets up the builder.

    Args:
      seed: of the world.
      image_size: side of the images in pixels.
      num_images: images in each split.
      **kwargs: of `tfds.core.GeneratorBasedBuilder`, e.g. `data_dir`.
    """
    self._settings = dict(
        seed=seed, image_size=image_size, num_images=num_images
    )
    # A folder for each world: TFDS takes a prepared folder for the same data.
    config = tfds.core.BuilderConfig(
        name=f'seed{seed}_{num_images}x{image_size}px',
        description='Settings of the world in the name.',
    )
    super().__init__(config=config, file_format='array_record', **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    names = SEEN + HELD_OUT
    return self.dataset_info_from_configs(
        features=tfds.features.FeaturesDict({
            'image': tfds.features.Image(
                shape=(None, None, 3), encoding_format='png'
            ),
            'image/id': np.int64,
            'objects': tfds.features.Sequence({
                'bbox': tfds.features.BBoxFeature(),
                'label': tfds.features.ClassLabel(names=names),
                'is_crowd': np.bool_,
            }),
        }),
        description='Shapes in colours, sizes and textures on backdrops.',
        disable_shuffling=True,
    )

  def _split_generators(self, dl_manager) -> dict[str, Any]:
    return {split: self._generate_examples(split) for split in SPLITS}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, Any]]:
    source = open_world(split, **self._settings)
    for index in range(len(source)):
      yield index, _example(source, index)


def _example(source: ShapesSource, index: int) -> dict[str, Any]:
  """One image with all of its items, held-out compositions or not."""
  scene = source.scene(index)
  # TFDS takes encoded images as they are, but needs TensorFlow for arrays.
  image = io.BytesIO()
  Image.fromarray(source[index].image).save(image, 'PNG')
  image.seek(0)
  return {
      'image': image,
      'image/id': source.image_id(index),
      'objects': [
          {
              'bbox': tfds.features.BBox(
                  ymin=item.box[1],
                  xmin=item.box[0],
                  ymax=item.box[3],
                  xmax=item.box[2],
              ),
              'label': item.kind.composition,
              'is_crowd': False,
          }
          for item in scene.items
      ],
  }
