"""The forms that other programs take what was found in an image in.

A package that one form alone needs is imported there.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from glip_jax import errors
from glip_jax.text import prompts

EDGES = ('x0', 'y0', 'x1', 'y1')


class Forms:
  """What `found.Found` can become; it has these attributes."""

  boxes: Float[np.ndarray, 'k 4']
  scores: Float[np.ndarray, 'k']
  phrases: tuple[str, ...]
  labels: Int[np.ndarray, 'k']
  asked: prompts.TextPrompt | None
  threshold: float
  size: tuple[int, int] | None
  name: str

  def to_hf(self) -> list[dict[str, Any]]:
    """As transformers' pipeline 'zero-shot-object-detection' answers.

    Returns:
      A dict for each box, best first: `score`, `label` (the phrase) and `box`,
      whose xmin, ymin, xmax and ymax are whole pixels.
    """
    names = ('xmin', 'ymin', 'xmax', 'ymax')
    return [
        {
            'score': float(score),
            'label': phrase,
            'box': dict(zip(names, map(int, box), strict=True)),
        }
        for phrase, score, box in self.rows()
    ]

  def to_coco(
      self,
      image_id: int | str = 0,
      categories: Mapping[str, int] | None = None,
  ) -> list[dict[str, Any]]:
    """As COCO's files of results have it; unknown objects are left out.

    Args:
      image_id: of the image in the file of truth.
      categories: id by phrase; by default the place in the prompt, from 1.

    Returns:
      A dict for each box: `image_id`, `category_id`, `bbox` as [x, y, width,
      height] in pixels, and `score`.

    Raises:
      UserError: `categories` lacks a phrase that was found.
    """
    rows = []
    for label, (phrase, score, box) in zip(
        self.labels.tolist(), self.rows(), strict=True
    ):
      if label < 0:
        continue
      if categories is not None and phrase not in categories:
        raise errors.UserError(
            f'categories has no id of {phrase!r:.80}: give one of each phrase'
            ' of the prompt'
        )
      x0, y0, x1, y1 = (round(x, 3) for x in box)
      rows.append({
          'image_id': image_id,
          'category_id': categories[phrase] if categories else label + 1,
          'bbox': [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
          'score': float(score),
      })
    return rows

  def to_supervision(self) -> Any:
    """As `supervision.Detections`: xyxy, confidence, class_id, class_name.

    Raises:
      UserError: the package is not installed.
    """
    supervision = _package('supervision')
    return supervision.Detections(
        xyxy=np.asarray(self.boxes, np.float32),
        confidence=np.asarray(self.scores, np.float32),
        class_id=np.asarray(self.labels, int),
        data={'class_name': np.array(self.phrases, dtype=str)},
    )

  def to_pandas(self) -> Any:
    """As a `pandas.DataFrame` of a row for each box.

    Returns:
      Columns image, phrase, label, score, x0, y0, x1 and y1.

    Raises:
      UserError: the package is not installed.
    """
    pandas = _package('pandas')
    boxes = np.asarray(self.boxes, float).reshape(-1, 4)
    return pandas.DataFrame({
        'image': [self.name] * len(self),
        'phrase': list(self.phrases),
        'label': np.asarray(self.labels, int),
        'score': np.asarray(self.scores, float),
        **{name: boxes[:, i] for i, name in enumerate(EDGES)},
    })

  def to_yolo(self, *, scores: bool = False) -> str:
    """As lines of a label file of YOLO; unknown objects are left out.

    Args:
      scores: end each line in its score, as tools that compare predictions
        take it; label files of truth have none.

    Returns:
      For each box a line `label x y width height`: the place in the prompt from
      0, then centre and sides as shares of the image's.

    Raises:
      UserError: the size of the image is not known.
    """
    height, width = self._known_size('to_yolo')
    lines = []
    for label, score, box in zip(
        self.labels.tolist(), self.scores, self.boxes, strict=True
    ):
      if label < 0:
        continue
      x0, y0, x1, y1 = np.asarray(box) / (width, height, width, height)
      values = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
      values += [score] if scores else []
      lines.append(' '.join([str(label), *(f'{x:.6f}' for x in values)]) + '\n')
    return ''.join(lines)

  def to_gligen(self) -> dict[str, Any]:
    """As grounded generators such as GLIGEN take a layout; JSON holds it.

    Returns:
      `prompt`, the text that was asked; `phrases`, one for each box; and
      `locations`, boxes xyxy as shares of the image's sides. diffusers' GLIGEN
      pipelines call the last two `gligen_phrases` and `gligen_boxes`.

    Raises:
      UserError: the size of the image is not known.
    """
    height, width = self._known_size('to_gligen')
    shares = np.asarray(self.boxes).reshape(-1, 4) / (
        (width, height, width, height)
    )
    said = '. '.join(dict.fromkeys(self.phrases))
    return {
        'prompt': said if self.asked is None else self.asked.caption,
        'phrases': list(self.phrases),
        'locations': np.clip(shares, 0, 1).round(6).tolist(),
    }

  def to_sam(self) -> dict[str, Any]:
    """Boxes as prompts of transformers' processors of SAM and SAM 2.

    `processor(images=image, **found.to_sam(), return_tensors=...)`.

    Returns:
      `input_boxes`: a list of one image, which is a list of boxes xyxy in its
      pixels, best first.
    """
    boxes = np.asarray(self.boxes, float).reshape(-1, 4)
    return {'input_boxes': [boxes.tolist()]}

  def to_dict(self) -> dict[str, Any]:
    """All of it, as JSON takes it; boxes are xyxy in pixels."""
    boxes = np.asarray(self.boxes, float).reshape(-1, 4)
    return {
        'image': self.name,
        'size': self.size and list(self.size),
        'prompt': self.asked and self.asked.caption,
        'threshold': self.threshold,
        'phrases': list(self.phrases),
        'labels': self.labels.tolist(),
        'scores': [float(score) for score in self.scores],
        'boxes': boxes.round(3).tolist(),
    }

  def rows(self) -> list[tuple[str, float, list[float]]]:
    """Phrase, score and box of each, best first."""
    boxes = np.asarray(self.boxes, float).reshape(-1, 4).tolist()
    return list(zip(self.phrases, self.scores, boxes, strict=True))

  def _known_size(self, form: str) -> tuple[int, int]:
    if self.size is None:
      raise errors.UserError(
          f'size is None, and {form} gives shares of the sides of the image:'
          ' give its (height, width)'
      )
    return self.size


def _package(name: str) -> Any:
  """A package that a form needs; a UserError where it is not installed."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise errors.UserError(
        f"{name} is not installed ({error}): pip install 'glip_jax[{name}]'"
    ) from error
