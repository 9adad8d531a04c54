"""Released weights, or those of a file, as a predictor."""

import functools
import os
from typing import Any

from etils import epath

from glip_jax import errors, predict, run
from glip_jax.data import settings
from glip_jax.detectors import recipe as recipes
from glip_jax.weights import formats, params_file, released

# The official test settings; the canvas holds any image resized so.
_RESIZE = (800, 1333)
_CANVAS = (1344, 1344)


def load(
    source: str | os.PathLike,
    *,
    variant: str | None = None,
    threshold: float | None = None,
    tokenizer: str = 'bert-base-uncased',
    resize: tuple[int, int] = _RESIZE,
    canvas: tuple[int, int] = _CANVAS,
) -> predict.Predictor:
  """A predictor with released weights or those of a file.

  Args:
    source: a name of `released.RELEASED`, or the path of a file of weights:
      official, mmdetection's or ours.
    variant: of the model in the file, where its name does not say: A, B, C, T,
      L.
    threshold: as for `predict.load`.
    tokenizer: a name on the Hugging Face hub or the path of one.
    resize: shorter and longest side of images, in pixels.
    canvas: height and width that every image is padded to.

  Raises:
    UserError: the name is unknown, the file cannot be had or read, nothing
      says what model it is of, or a size makes no sense.
  """
  name = os.fspath(source)
  _check_sizes(resize, canvas)
  variant = variant or released.variant_of(name)
  path = epath.Path(name).expanduser()
  fetched = name in released.RELEASED
  if fetched or not (formats.is_file(name) or path.is_file()):
    path = released.fetch(name)  # Or says which names there are.
  if variant is None:
    raise errors.UserError(
        f'variant is missing: say whose weights {name} are, A, B, C, T or L'
    )
  config = run.Run(
      model=recipes.variant(variant),
      data=settings.Data(
          tokenizer=tokenizer,
          num_tokens=256,
          num_phrases=16,
          num_boxes=1,
          image_size=canvas,
          resize=resize,
      ),
  )
  read = functools.partial(_read_fetched if fetched else params_file.read, path)
  return predict.make_predictor(config, read, threshold=threshold)


def _read_fetched(path: os.PathLike, *args: Any) -> Any:
  """Reads a file of the cache."""
  try:
    return params_file.read(path, *args)
  except errors.UserError as error:
    raise errors.UserError(
        f'{error}; if the file is damaged, remove {os.path.realpath(path)} and'
        ' ask again: it is then fetched anew'
    ) from None


def _check_sizes(resize: tuple[int, int], canvas: tuple[int, int]):
  """Refuses sizes that no image fits."""
  for name, sides in (('resize', resize), ('canvas', canvas)):
    if not (isinstance(sides, tuple) and len(sides) == 2 and min(sides) > 0):
      raise errors.UserError(f'{name}={sides!r}: give two sides in pixels')
  if canvas[0] % 32 or canvas[1] % 32:
    raise errors.UserError(
        f'canvas={canvas}: height and width must be multiples of 32'
    )
  if resize[0] > resize[1]:
    raise errors.UserError(
        f'resize={resize}: the shorter side comes first, then the longest'
    )
