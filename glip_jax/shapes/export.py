"""Writes the embedded world as files: COCO JSON or MDETR's grounding JSON.

Images are JPEGs in `images/` beside one `annotations.json`, so that any
loader and evaluator of these formats can be tried on known truth.
"""

import json
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from glip_jax.errors import UserError
from glip_jax.shapes.source import (
    DECIMALS,
    ShapesDetectionSource,
    ShapesSource,
)

# Chroma at full resolution: colours are what the names speak of.
_JPEG = dict(quality=92, subsampling=0)


def write_coco(
    folder: str | os.PathLike[str], source: ShapesSource
) -> pathlib.Path:
  """Writes a source as a COCO detection set.

  Args:
    folder: where to; made if missing, files of the same names overwritten.
    source: a detection source; its names become the categories.

  Returns:
    Path of the annotation file.

  Raises:
    UserError: the source has other prompts, so no one list of categories.
  """
  if not isinstance(source, ShapesDetectionSource):
    raise UserError(
        f'split {source.split!r} has prompts that differ by image, so no'
        " categories: open it with prompts={'all': 1}"
    )
  content = source.ground_truth()
  for index in range(len(source)):
    _write_image(folder, source, index)
  return _write_json(folder, content)


def write_mdetr(
    folder: str | os.PathLike[str], source: ShapesSource
) -> pathlib.Path:
  """Writes a source as a grounding set in MDETR's extension of COCO.

  Each image has its `caption`, and `tokens_positive_eval` with the character
  spans of each phrase; each annotation has the spans of its phrase as
  `tokens_positive`. Spans are [start, end).

  Args:
    folder: where to; made if missing, files of the same names overwritten.
    source: with prompts of any kind.

  Returns:
    Path of the annotation file.
  """
  images, annotations = [], []
  for index in range(len(source)):
    _write_image(folder, source, index)
    truth = source.truth(index)
    spans = [[list(span) for span in phrase] for phrase in truth.text.spans]
    images.append({
        **source.image_entry(index),
        'caption': truth.text.caption,
        'dataset_name': 'shapes',
        'tokens_negative': [[0, len(truth.text.caption)]],
        'tokens_positive_eval': spans,
    })
    for box, phrase in zip(truth.boxes, truth.phrase, strict=True):
      if phrase < 0:
        continue  # The format has no place for what no phrase names.
      annotations.append({
          'id': len(annotations) + 1,
          'image_id': source.image_id(index),
          'category_id': 1,
          'tokens_positive': spans[phrase],
          **_box_entry(box),
      })
  categories = [{'id': 1, 'name': 'object'}]
  return _write_json(
      folder,
      dict(images=images, annotations=annotations, categories=categories),
  )


def _write_image(
    folder: str | os.PathLike[str], source: ShapesSource, index: int
) -> None:
  path = pathlib.Path(folder, 'images', source.image_entry(index)['file_name'])
  path.parent.mkdir(parents=True, exist_ok=True)
  image: UInt8[np.ndarray, 'h w 3'] = source[index].image
  Image.fromarray(image).save(path, 'JPEG', **_JPEG)


def _box_entry(box: Float[np.ndarray, '4']) -> dict[str, Any]:
  """The geometry of a COCO annotation: [x, y, width, height] and area."""
  x0, y0, x1, y1 = (round(float(edge), DECIMALS) for edge in box)
  width, height = round(x1 - x0, DECIMALS), round(y1 - y0, DECIMALS)
  return {
      'bbox': [x0, y0, width, height],
      'area': round(width * height, DECIMALS),
      'iscrowd': 0,
  }


def _write_json(
    folder: str | os.PathLike[str], content: dict[str, Any]
) -> pathlib.Path:
  path = pathlib.Path(folder, 'annotations.json')
  path.write_text(json.dumps(content), encoding='utf-8')
  return path
