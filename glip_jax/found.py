"""What was found in an image: to be read, drawn, cut out and written.

Boxes are xyxy in pixels of the image as it was given, from edge to edge.
"""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float, Int, UInt8
from PIL import Image

from glip_jax import (
    draw,
    draw_prompt,
    errors,
    found_forms,
    image_files,
    storage,
)
from glip_jax.data import image_inputs
from glip_jax.text import legible, parsing, prompts


@dataclasses.dataclass(frozen=True)
class Found(found_forms.Forms):
  """What was found in an image, best first.

  Attributes:
    boxes: xyxy, pixels of the image as it was given.
    scores: in [0, 1].
    phrases: the phrase of the prompt that each box answers, or
      `prompts.UNKNOWN`; of a model that names by tokens, their text.
    asked: what was looked for; None if that is not known.
    threshold: the lowest score that counted.
    labels: the place of each phrase in the prompt, from 0; -1 of an object that
      no phrase names. Where nobody gives them, places in the order in which
      phrases first stand in `phrases`.
    image: the image, which is read again where it is drawn or cut; None if
      there is none.
    size: (height, width) of the image in pixels, or None.
  """

  boxes: Float[np.ndarray, 'k 4']
  scores: Float[np.ndarray, 'k']
  phrases: tuple[str, ...]
  asked: prompts.TextPrompt | None = None
  threshold: float = 0.0
  labels: Int[np.ndarray, 'k'] | None = None
  image: image_inputs.Input | None = None
  size: tuple[int, int] | None = None

  def __post_init__(self):
    if self.labels is None:
      first = {p: i for i, p in enumerate(dict.fromkeys(self.phrases))}
      labels = np.array([first[p] for p in self.phrases], np.int32)
      object.__setattr__(self, 'labels', labels)

  def __len__(self) -> int:
    return len(self.phrases)

  def __getitem__(self, rows: Any) -> 'Found':
    """Some of what was found: a slice, places, or a truth value for each."""
    chosen = np.atleast_1d(np.arange(len(self))[rows])
    return dataclasses.replace(
        self,
        boxes=self.boxes[chosen],
        scores=self.scores[chosen],
        phrases=tuple(self.phrases[i] for i in chosen),
        labels=self.labels[chosen],
    )

  @property
  def name(self) -> str:
    """Path or address of the image; '' of one that has none."""
    return '' if self.image is None else self.image.name

  def table(self) -> str:
    """Aligned lines for a terminal, boxes as x0 y0 x1 y1."""
    if not self.phrases:
      return '\n'.join(self._why())
    width = max(len('phrase'), *map(len, self.phrases))
    names = ''.join(f'{name:>9}' for name in found_forms.EDGES)
    lines = [f'{"phrase":<{width}}  score{names}']
    for phrase, score, box in zip(
        self.phrases, self.scores, self.boxes, strict=True
    ):
      corners = ''.join(f'{x:>9.1f}' for x in box)
      lines.append(f'{phrase:<{width}}  {score:>5.3f}{corners}')
    return '\n'.join(lines)

  def draw(self, *, prompt: bool = True) -> Image.Image:
    """The image with what was found drawn on it.

    Args:
      prompt: write the prompt beneath, its phrases in the colours of their
        boxes.

    Raises:
      UserError: there is no image, or it cannot be read again.
    """
    names = () if self.asked is None else self.asked.phrases
    colours = draw.label_colours([*names, *self.phrases])
    drawn = draw.draw_boxes(
        self.pixels(),
        self.boxes,
        self.phrases,
        scores=self.scores.tolist(),
        colours=colours,
    )
    if not prompt or self.asked is None:
      return drawn
    own = {phrase: colours[phrase] for phrase in self.phrases}
    return draw_prompt.with_prompt(drawn, self.asked, own)

  def crop(self, margin: float = 0.0) -> list[Image.Image]:
    """What is inside each box, best first.

    Args:
      margin: how much wider on each side, as a share of the box's sides.

    Raises:
      UserError: there is no image, or it cannot be read again.
    """
    image = Image.fromarray(np.ascontiguousarray(self.pixels()))
    cut = []
    for x0, y0, x1, y1 in np.asarray(self.boxes, float).reshape(-1, 4):
      wide, tall = margin * (x1 - x0), margin * (y1 - y0)
      left = int(np.clip(np.floor(x0 - wide), 0, image.width - 1))
      top = int(np.clip(np.floor(y0 - tall), 0, image.height - 1))
      right = int(np.clip(np.ceil(x1 + wide), left + 1, image.width))
      bottom = int(np.clip(np.ceil(y1 + tall), top + 1, image.height))
      cut.append(image.crop((left, top, right, bottom)))
    return cut

  def save(self, path: str | os.PathLike) -> None:
    """Writes it as the ending of a file says; its folder is made.

    Args:
      path: .json has all, as `to_dict`; .csv a row for each box; .txt YOLO's
        lines with scores; .png, .jpg, .jpeg and .webp the drawn image.

    Raises:
      UserError: the ending is another one, or the file cannot be written.
    """
    errors.check_no_url('path', path, buckets=True)
    path = epath.Path(path).expanduser()
    forms = {'.json': self._json, '.csv': self._csv, '.txt': self._yolo_lines}
    form = forms.get(path.suffix.lower())
    if form is None:
      kind = image_files.check('path', path, others=tuple(forms))
      image_files.write(path, self.draw(), kind)
      return
    storage.check_out('path', path)
    storage.write_whole(path, form().encode())

  def pixels(self) -> UInt8[np.ndarray, 'h w 3']:
    """The image, read again.

    Raises:
      UserError: there is none, or it cannot be read again.
    """
    if self.image is None:
      raise errors.UserError(
          'what was found holds no image to draw on or to cut: let a detector'
          ' find it'
      )
    return self.image.read()

  def _json(self) -> str:
    return json.dumps(self.to_dict(), indent=1) + '\n'

  def _csv(self) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator='\n')
    lines.writerow(('image', 'phrase', 'score', *found_forms.EDGES))
    for phrase, score, box in self.rows():
      corners = (round(x, 3) for x in box)
      lines.writerow((self.name, phrase, float(score), *corners))
    return text.getvalue()

  def _yolo_lines(self) -> str:
    return self.to_yolo(scores=True)

  def _why(self) -> Sequence[str]:
    """What was looked for where nothing was found, and what to know of it."""
    if self.asked is None:
      return ['nothing found']
    names = legible.quote(self.asked.phrases)
    said = (
        f'nothing found: nothing scores {self.threshold:g} or more as {names}'
    )
    return [said, *parsing.notes(self.asked)]
