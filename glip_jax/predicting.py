"""Finding in one image what a prompt names, with parameters from anywhere."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from glip_jax import errors, run, serving, types
from glip_jax.data import (
    any_image,
    class_captions,
    element,
    fitting,
    records,
    settings,
)
from glip_jax.detectors import recipe as recipes
from glip_jax.evaluators import unpack
from glip_jax.text import class_prompts, legible, parsing, prompts
from glip_jax.text import tokenizer as tokenizers
from glip_jax.training import sharding


@dataclasses.dataclass(frozen=True)
class Found:
  """What was found in an image, best first.

  Attributes:
    boxes: xyxy, pixels of the image as it was given.
    scores: in [0, 1].
    phrases: the phrase of the prompt that each box answers, or
      `prompts.UNKNOWN`; of a model that names by tokens, their text.
    asked: what was looked for; None if that is not known.
    threshold: the lowest score that counted.
  """

  boxes: Float[np.ndarray, 'k 4']
  scores: Float[np.ndarray, 'k']
  phrases: tuple[str, ...]
  asked: prompts.TextPrompt | None = None
  threshold: float = 0.0

  def table(self) -> str:
    """Aligned lines for a terminal, boxes as x0 y0 x1 y1."""
    if not self.phrases:
      return '\n'.join(self._why())
    width = max(len('phrase'), *map(len, self.phrases))
    names = ''.join(f'{name:>9}' for name in ('x0', 'y0', 'x1', 'y1'))
    lines = [f'{"phrase":<{width}}  score{names}']
    for phrase, score, box in zip(
        self.phrases, self.scores, self.boxes, strict=True
    ):
      corners = ''.join(f'{x:>9.1f}' for x in box)
      lines.append(f'{phrase:<{width}}  {score:>5.3f}{corners}')
    return '\n'.join(lines)

  def _why(self) -> list[str]:
    """What was looked for where nothing was found, and what to know of it."""
    if self.asked is None:
      return ['nothing found']
    names = legible.quote(self.asked.phrases)
    said = (
        f'nothing found: nothing scores {self.threshold:g} or more as {names}'
    )
    return [said, *parsing.notes(self.asked)]


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A trained model that takes an image and a prompt.

  Attributes:
    data: `config.data` that the model was trained with: canvas and tokens.
    detector: finds what is named in a batch.
    threshold: detections with a lower score are left out.
  """

  data: settings.Config
  detector: serving.Detector
  threshold: float

  def __call__(
      self,
      image: Any,
      text: prompts.TextPrompt | str | Sequence[str] | Mapping[str, Any],
  ) -> Found:
    """Finds what the phrases of a prompt name.

    The first call compiles, and so does the first one with any number of
    phrases above `data.num_phrases`.

    Args:
      image: of any size: an array, a PIL image or a path, as
        `any_image.to_rgb` says.
      text: what `parsing.read_prompt` reads, names with their prompts as
        `class_prompts.parse` takes them, or a prompt, such as one with spans of
        `prompts.from_caption`.

    Raises:
      UserError: the image is none or cannot be read, the prompt holds no words,
        or the model cannot read it (see `check_prompt`).
    """
    text = as_prompt(text)
    check_prompt(self.data, text)
    batch = self._batch(any_image.to_rgb(image), text)
    lowest = self.detector.recipe.lowest(self.threshold)
    answer = self._answer(batch, text, lowest)
    found = next(unpack.unpack(batch, answer, unknown=True))
    keep = found.scores >= self.threshold
    if found.tokens is None:
      names = tuple(text.name(label) for label in found.labels[keep])
    else:
      # Named by tokens, in the words that the tokenizer makes of them.
      tokenizer = tokenizers.load_tokenizer(self.data.tokenizer)
      ids = batch.prompt.ids[0]
      names = tuple(tokenizer.decode(ids[own]) for own in found.tokens[keep])
    boxes, scores = found.boxes[keep], found.scores[keep]
    return Found(boxes, scores, names, asked=text, threshold=self.threshold)

  def in_image(
      self, path: str | os.PathLike, prompt: str | Sequence[str]
  ) -> Found:
    """Finds what a prompt names in an image file.

    Args:
      path: of the image.
      prompt: names separated by full stops, or a list of names; see
        `parsing.read_prompt`.

    Raises:
      UserError: as for a call.
    """
    return self(path, prompt)

  def _answer(
      self,
      batch: types.Batch,
      text: prompts.TextPrompt,
      lowest: Mapping[str, float],
  ) -> types.Detections:
    """What is found by a prompt, or by each of its phrases as a caption."""
    data = settings.read_data(self.data)
    if not data.class_captions:
      return self.detector.detect(batch, same_prompt=True, **lowest)
    most = max(data.num_phrases, len(text.phrases))
    captions = class_captions.to_captions(text, data, most)
    features = self.detector.encode_image(batch)
    return self.detector.ground(
        features, batch, captions.encode(text), **lowest
    )

  def _batch(
      self, image: UInt8[np.ndarray, 'h w 3'], text: prompts.TextPrompt
  ) -> types.Batch:
    """A batch of one, made as evaluation makes its batches."""
    record = records.Record(
        image=image,
        boxes=np.zeros((0, 4), np.float32),
        phrase=np.zeros(0, np.int32),
        crowd=np.zeros(0, bool),
        text=text,
        index=0,
    )
    fits = fitting.fits(self.data, len(text.phrases))
    num_tokens = _element(self.data, len(text.phrases)).length(text)
    fit = fits[fitting.best(fits, image.shape[:2], num_tokens)]
    one = fit.element.map(fit.resize.map(record))
    return jax.tree.map(lambda x: np.asarray(x)[None], one)


def make_predictor(
    config: run.Run,
    read_params: Callable[[Any, recipes.Recipe], Any],
    *,
    threshold: float | None = None,
) -> Predictor:
  """A predictor whose parameters come from anywhere, on the first device.

  Args:
    config: `model` and `data` are read.
    read_params: given the shapes and shardings of the parameters and the
      recipe, returns the parameters.
    threshold: detections with a lower score are left out, in [0, 1]; None
      for the `show_threshold` of the model's family.

  Raises:
    UserError: no score can reach the threshold.
  """
  check_threshold(threshold)
  recipe = recipes.build(config.model)
  detector = serving.load(
      recipe,
      lambda shapes: read_params(shapes, recipe),
      sharding.make_mesh({'data': 1}, jax.devices()[:1]),
      data=config.data,
  )
  if threshold is None:
    threshold = recipe.show_threshold
  return Predictor(config.data, detector, threshold)


def check_prompt(data: settings.Config, text: prompts.TextPrompt) -> None:
  """Refuses a prompt that a model cannot read, or not as it is meant.

  Args:
    data: `config.data` of the model: its tokenizer and tokens.
    text: what to look for.

  Raises:
    UserError: it has more tokens than the model reads, the tokenizer knows no
      word of a name, or two names of a list have the same tokens.
  """
  prompt = _element(data, len(text.phrases)).encode_and_tell(text)
  legible.check_distinct(text, prompt)


def as_prompt(
    text: prompts.TextPrompt | str | Sequence[str] | Mapping[str, Any],
) -> prompts.TextPrompt:
  """The prompt that a caller means by a text, names, or a prompt.

  Raises:
    UserError: it is none of these, or holds no words.
  """
  if isinstance(text, prompts.TextPrompt):
    return text
  if isinstance(text, Mapping):
    wordings = class_prompts.parse(text, 'prompt')
    return class_prompts.prompt(tuple(wordings), wordings)
  is_list = isinstance(text, (list, tuple))
  if isinstance(text, str) or (
      is_list and all(isinstance(name, str) for name in text)
  ):
    return parsing.read_prompt(text)
  raise errors.UserError(
      f'a prompt of type {type(text).__name__} is none: give a text such as'
      " 'cat. dog', a list of names, or names with their prompts"
  )


def check_threshold(threshold: float | None) -> None:
  """Refuses one that no score can reach, or that all do.

  Raises:
    UserError: it is not in [0, 1].
  """
  if threshold is not None and not 0 <= threshold <= 1:
    raise errors.UserError(
        f'threshold={threshold} is not in [0, 1], where scores are: give one'
        " that is, or none for the model's own"
    )


def _element(data: Mapping[str, Any], num_phrases: int) -> element.ToElement:
  """The evaluation's transform, with room for all phrases of a prompt."""
  own = settings.to_element(data)
  return dataclasses.replace(own, num_phrases=max(own.num_phrases, num_phrases))
