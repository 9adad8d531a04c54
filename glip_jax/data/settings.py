"""What `config.data` says of records: canvas, prompt, transforms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import grain
import ml_collections

from glip_jax import configuring
from glip_jax.data import transforms
from glip_jax.data.element import ToElement
from glip_jax.data.sources.protocol import Source
from glip_jax.errors import UserError
from glip_jax.text import prompts

Config = Mapping[str, Any] | ml_collections.ConfigDict

_FIELDS = (
    'train', 'warmup', 'tokenizer', 'num_tokens', 'num_phrases', 'num_boxes',
    'image_size', 'resize', 'augment', 'shuffle_names', 'bad_records',
    'num_workers',
)  # fmt: skip
_LEAST = dict(num_tokens=3, num_phrases=1, num_boxes=1, num_workers=0)


@dataclasses.dataclass(frozen=True)
class Augment:
  """What `config.data.augment` may hold.

  Attributes:
    flip: how often an image is mirrored, in [0, 1].
    scale: smallest and largest magnification of a random crop, above 0.
    brightness: largest relative change, in [0, 1].
    contrast: the same.
    saturation: the same.
  """

  flip: float = 0.0
  scale: tuple[float, float] = (1.0, 1.0)
  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0


def check_fields(data: Config) -> None:
  """Refuses what `config.data` does not have or cannot mean.

  Raises:
    UserError: naming the field.
  """
  for key in data:
    if key not in _FIELDS:
      raise UserError(
          f'config.data has no {key!r}: it has {", ".join(_FIELDS)}'
      )
  for key, least in _LEAST.items():
    if data.get(key, least) < least:
      raise UserError(f'config.data.{key}={data[key]} must be {least} or more')
  _read_augment(data)


def resizing(data: Config) -> transforms.Resize | transforms.FitInside:
  """The transform that brings images to the size of the canvas."""
  canvas = _canvas(data)
  if data.get('resize'):
    short, long = data['resize']
    return transforms.Resize(short, long, canvas)
  return transforms.FitInside(canvas)


def to_element(data: Config) -> ToElement:
  """The transform that makes records elements of the shapes of a config."""
  return ToElement(
      tokenizer=data['tokenizer'],
      num_tokens=data['num_tokens'],
      num_phrases=data['num_phrases'],
      num_boxes=data['num_boxes'],
      canvas=_canvas(data),
  )


def check_prompt(source: Source, element: ToElement) -> None:
  """Refuses a vocabulary whose prompt no record could be given.

  Args:
    source: any; one without a vocabulary passes.
    element: from `to_element`.

  Raises:
    UserError: the prompt of all classes does not fit.
  """
  if not source.names:
    return
  try:
    element.encode(prompts.from_names(source.names))
  except UserError as error:
    raise UserError(
        f'the prompt of all {len(source.names)} classes cannot be used'
        f' ({error}); keep fewer by names= or exclude='
    ) from error


def training_steps(
    data: Config,
) -> list[grain.transforms.Map | grain.transforms.RandomMap]:
  """The transforms that a config asks for, from record to resized record."""
  augment = _read_augment(data)
  colors = {
      name: getattr(augment, name)
      for name in ('brightness', 'contrast', 'saturation')
  }
  steps = []
  if data.get('shuffle_names'):
    steps.append(transforms.ShuffleNames())
  if augment.scale != (1.0, 1.0):
    steps.append(transforms.RandomScaleCrop(*augment.scale))
  if augment.flip:
    steps.append(transforms.Flip(augment.flip))
  steps.append(resizing(data))
  if any(colors.values()):
    steps.append(transforms.ColorJitter(**colors))
  return steps


def _canvas(data: Config) -> tuple[int, int]:
  """`data.image_size`, refused where no model could take it."""
  canvas = tuple(data['image_size'])
  if len(canvas) != 2 or any(side < 32 or side % 32 for side in canvas):
    raise UserError(
        f'data.image_size={canvas} must be (height, width) in multiples of 32,'
        ' for example (128, 128)'
    )
  return canvas


def _read_augment(data: Config) -> Augment:
  """`data.augment`, refused where a value is out of its range."""
  augment = configuring.fill(Augment, data.get('augment'), 'data.augment')
  for name in ('flip', 'brightness', 'contrast', 'saturation'):
    value = getattr(augment, name)
    if not 0 <= value <= 1:
      raise UserError(f'data.augment.{name}={value} must be from 0 to 1')
  scale = tuple(augment.scale)
  if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
    raise UserError(
        f'data.augment.scale={scale} must be (low, high) with 0 < low <= high,'
        ' for example (0.8, 1.5)'
    )
  return dataclasses.replace(augment, scale=scale)
