"""How a record becomes an element of a bucket, and which one wastes least."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Sequence

from glip_jax.data import fast_images, settings, transforms
from glip_jax.data.buckets import Bucket
from glip_jax.data.element import ToElement
from glip_jax.errors import UserError

# Canvases of `few_buckets`.
_FEW = 3
# Tokens of a prompt that a shorter one saves something of.
_WORTH_A_SHORTER = 64


@dataclasses.dataclass(frozen=True)
class Fit:
  """What brings records into the shape of a bucket.

  Attributes:
    bucket: the shape.
    element: makes elements of it.
    data: `config.data`.
  """

  bucket: Bucket
  element: ToElement
  data: settings.Data

  @functools.cached_property
  def resize(self) -> transforms.Resize | transforms.FitInside:
    """The resizing of `config.data`."""
    return self.resize_to(0)

  def resize_to(self, short: int) -> transforms.Resize | transforms.FitInside:
    """The resizing to another short side; 0 for that of `config.data`."""
    if short not in self._resizings:  # Making one reads the settings: slow.
      self._resizings[short] = settings.resizing(
          self.data, self.bucket.canvas, short
      )
    return self._resizings[short]

  @functools.cached_property
  def _resizings(self) -> dict[int, transforms.Resize | transforms.FitInside]:
    """Those that were made, by the short side."""
    return {}

  def resized(self, short: int, long: int) -> Fit:
    """The fit of the same records at another size.

    Args:
      short: pixels of the short side.
      long: pixels that the long side should not exceed.

    Raises:
      UserError: `config.data.resize` is empty, so there is no size to change.
    """
    if not self.data.resize:
      raise UserError(
          'config.data.resize is empty, so images have no short side to change:'
          ' give it, for example (800, 1333)'
      )
    growth = short / self.data.resize[0]
    limit = _ceiling(long)
    canvas = tuple(
        min(_ceiling(side * growth), limit) for side in self.bucket.canvas
    )
    return Fit(
        Bucket(canvas, self.bucket.num_tokens),
        dataclasses.replace(self.element, canvas=canvas),
        dataclasses.replace(self.data, resize=(short, long)),
    )

  def decoding(
      self, short: int = 0, magnified: float = 1.0
  ) -> contextlib.AbstractContextManager[None]:
    """Decodes images as `config.data.fast_images` says, for `resize_to`.

    Args:
      short: as `resize_to` takes it.
      magnified: the most that an image is magnified before.
    """
    if not self.data.fast_images:
      return contextlib.nullcontext()
    resize = self.resize_to(short)

    def wanted(height: int, width: int) -> tuple[int, int]:
      size = resize.size(height, width)
      return math.ceil(size[0] * magnified), math.ceil(size[1] * magnified)

    return fast_images.decoding(wanted)

  def wasted(
      self, size: tuple[int, int] | None, num_tokens: int, short: int = 0
  ) -> tuple[float, ...]:
    """What is to be least: text without room, detail lost, padding, tokens.

    Args:
      size: (h, w) of an image, None if it is not known.
      num_tokens: of its prompt.
      short: side that it is resized to, as `resize_to` takes it.
    """
    canvas, lacking = self.bucket, max(num_tokens - self.bucket.num_tokens, 0)
    if size is None:
      return lacking, -canvas.num_pixels, 0, canvas.num_tokens
    resize = self.resize_to(short) if short else self.resize
    height, width = resize.size(*size)
    padding = 1 - height * width / canvas.num_pixels
    if resize.fills_canvas:
      return lacking, round(padding, 2), -canvas.num_pixels, canvas.num_tokens
    return lacking, -height * width, padding, canvas.num_tokens


def _ceiling(side: float) -> int:
  """The next multiple of 32 pixels."""
  return -(-math.ceil(side) // 32) * 32


def fits(data: settings.Config, num_phrases: int = 0) -> tuple[Fit, ...]:
  """What brings records into each of the buckets of a config.

  Args:
    data: `config.data`.
    num_phrases: phrases that there is room for at least.
  """
  data = settings.read_data(data)
  element = settings.to_element(data)
  made = []
  for bucket in settings.buckets(data):
    own = dataclasses.replace(
        element,
        canvas=bucket.canvas,
        num_tokens=bucket.num_tokens,
        num_phrases=max(element.num_phrases, num_phrases),
    )
    made.append(Fit(bucket, own, data))
  return tuple(made)


def few_buckets(data: settings.Data) -> tuple[tuple[int, int, int], ...]:
  """Few (h, w, tokens) for images and prompts of all kinds.

  Of many canvases the largest that lies, the largest that stands, and the
  smallest; and two lengths: that of `config.data`, and a quarter of it.

  Args:
    data: `config.data`.
  """
  canvases = list(dict.fromkeys(b.canvas for b in settings.buckets(data)))
  if len(canvases) > _FEW:
    by_size = sorted(canvases, key=math.prod)
    lying = [(h, w) for h, w in by_size if w >= h]
    standing = [(h, w) for h, w in by_size if h > w]
    chosen = {by_size[0], *lying[-1:], *standing[-1:]}
    canvases = [canvas for canvas in canvases if canvas in chosen]
  lengths = [data.num_tokens]
  if data.num_tokens >= _WORTH_A_SHORTER:
    lengths.append(data.num_tokens // 4)
  return tuple(
      (*canvas, length) for canvas in canvases for length in sorted(lengths)
  )


def best(
    fits_of: Sequence[Fit],
    size: tuple[int, int] | None,
    num_tokens: int,
    short: int = 0,
) -> int:
  """Number of the fit that wastes least; arguments as of `Fit.wasted`."""
  if len(fits_of) == 1:
    return 0
  wasted = [each.wasted(size, num_tokens, short) for each in fits_of]
  return min(range(len(wasted)), key=wasted.__getitem__)
