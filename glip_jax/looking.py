"""Any number of images and prompts through a few compiled programs.

Every image goes into the canvas that wastes least, every prompt into one of few
lengths, and batches have one size: short ones are filled up. An image is
encoded once for all prompts that it is asked in. Answers come in the order of
the questions.
"""

import collections
import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from glip_jax import errors, prompting, types
from glip_jax.data import fitting, image_inputs, records, settings
from glip_jax.evaluators import unpack
from glip_jax.text import prompts
from glip_jax.text import tokenizer as tokenizers

# Images that are read while others are looked at, beside those of a batch.
_READERS = 4
# Batches that an answer may wait for others of its shape to fill its own.
_PATIENCE = 8
_NO_TEXT = prompts.TextPrompt('', (), ())


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
  """An image and what is looked for in it."""

  image: image_inputs.Input
  asked: prompting.Asked


def questions(
    images: Iterable[image_inputs.Input],
    asked: prompting.Asked | Sequence[prompting.Asked],
) -> Iterator[Question]:
  """Images with one prompt for all, or with one each.

  Args:
    images: any number.
    asked: a prompt, or a list of them.

  Raises:
    UserError: there are more images than prompts.
  """
  for number, image in enumerate(images):
    if isinstance(asked, prompting.Asked):
      yield Question(image, asked)
      continue
    if number == len(asked):
      raise errors.UserError(
          f'{len(asked)} prompts are given for more images: give one for each,'
          ' or one for all'
      )
    yield Question(image, asked[number])


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
  """All that was found for a question, best first.

  Attributes:
    question: what it answers.
    size: (h, w) of the image in pixels.
    boxes: float64[k 4] xyxy, pixels of the image.
    scores: float32[k].
    labels: int[k] phrase of the whole prompt; -1 as in `types.Detections`.
    phrases: of each box.
  """

  question: Question
  size: tuple[int, int]
  boxes: np.ndarray
  scores: np.ndarray
  labels: np.ndarray
  phrases: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
  """A question that is ready: its number, bucket, image and prompts."""

  number: int
  question: Question
  size: tuple[int, int]
  bucket: int
  image: types.Batch
  prompts: list[tuple[int, types.Prompt | types.ClassCaptions]]


@dataclasses.dataclass(frozen=True)
class Looker:
  """Answers questions by a detector.

  Attributes:
    data: `config.data`: buckets, tokens and how images are resized.
    detector: a `serving.Detector`.
    batch_size: images of every batch.
  """

  data: settings.Data
  detector: Any
  batch_size: int = 1

  def __call__(
      self, questions: Iterable[Question], thresholds: Mapping[str, float]
  ) -> Iterator[Answer]:
    """Answers in the order of questions, which are taken as they are needed.

    Args:
      questions: any number.
      thresholds: for `Detector.ground`.

    Raises:
      UserError: an image cannot be read.
    """
    waiting: dict[int, list[Row]] = collections.defaultdict(list)
    running: collections.deque[Any] = collections.deque()
    done: dict[int, Answer] = {}
    following = 0

    def start(bucket: int) -> None:
      rows = waiting.pop(bucket)
      running.append((rows, self._ask(rows, thresholds)))

    def finish() -> None:
      rows, found = running.popleft()
      for row, answer in zip(rows, self._answers(rows, found), strict=True):
        done[row.number] = answer

    for row in self._rows(questions):
      waiting[row.bucket].append(row)
      if len(waiting[row.bucket]) == self.batch_size:
        start(row.bucket)
      if row.number - following >= _PATIENCE * self.batch_size:
        first = min(waiting, key=lambda b: waiting[b][0].number, default=None)
        if first is not None:
          start(first)
      # While the device works on one batch the host reads what it gave before.
      while len(running) > 1:
        finish()
      while following in done:
        yield done.pop(following)
        following += 1
    for bucket in sorted(waiting, key=lambda b: waiting[b][0].number):
      start(bucket)
    while running:
      finish()
      while following in done:
        yield done.pop(following)
        following += 1

  def embed(self, question: Question) -> tuple[Row, types.Embeddings]:
    """The image of a question as it was fitted, and its embeddings.

    Args:
      question: of one prompt.

    Raises:
      UserError: the image cannot be read.
    """
    row = self.row(question)
    features = self.detector.encode_image(self._batch([row]))
    _, prompt = row.prompts[0]
    found = self.detector.embed(features, [prompt] * self.batch_size)
    return row, jax.tree.map(lambda x: np.asarray(x)[0], found)

  def row(self, question: Question, number: int = 0) -> Row:
    """Reads the image of a question and fits it to its bucket.

    Args:
      question: the image and its prompts.
      number: its place among others.

    Raises:
      UserError: the image cannot be read.
    """
    pixels = question.image.read()
    size = pixels.shape[:2]
    bucket = fitting.best(self._fits, size, question.asked.num_tokens)
    fit = self._fits[bucket]
    blank = dataclasses.replace(records.blank(_NO_TEXT), image=pixels, index=0)
    image = fit.element.map(fit.resize.map(blank))
    encoded = question.asked.encoded(self.data, fit.bucket.num_tokens)
    return Row(number, question, size, bucket, image, encoded)

  @functools.cached_property
  def _fits(self) -> tuple[fitting.Fit, ...]:
    return fitting.fits(self.data)

  def _rows(self, questions: Iterable[Question]) -> Iterator[Row]:
    """Questions made ready by threads, in their order."""
    ahead: collections.deque[Any] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(_READERS) as readers:
      for number, question in enumerate(questions):
        ahead.append(readers.submit(self.row, question, number))
        if len(ahead) > self.batch_size + _READERS:
          yield ahead.popleft().result()
      while ahead:
        yield ahead.popleft().result()

  def _batch(self, rows: Sequence[Row]) -> types.Batch:
    fit = self._fits[rows[0].bucket]
    spare = self.batch_size - len(rows)
    blank = fit.element.map(records.blank(_NO_TEXT)) if spare else None
    images = [*(row.image for row in rows), *([blank] * spare)]
    return jax.tree.map(lambda *x: np.stack(x), *images)

  def _ask(
      self, rows: Sequence[Row], thresholds: Mapping[str, float]
  ) -> tuple[types.Batch, list[tuple[list[Any], types.Detections]]]:
    """Starts the programs of a batch; waits for nothing."""
    batch = self._batch(rows)
    features = self.detector.encode_image(batch)
    rounds = []
    for turn in range(max(len(row.prompts) for row in rows)):
      # Who has no further prompt repeats its last, which nobody reads.
      asked = [row.prompts[min(turn, len(row.prompts) - 1)][1] for row in rows]
      asked += [asked[-1]] * (self.batch_size - len(rows))
      found = self.detector.ground(features, batch, asked, **thresholds)
      rounds.append((asked, found))
    return batch, rounds

  def _answers(self, rows: Sequence[Row], asked_and_found: Any):
    """What a batch gave for each of its questions."""
    batch, rounds = asked_and_found
    parts: list[list[Any]] = [[] for _ in rows]
    for turn, (asked, found) in enumerate(rounds):
      batch = batch.replace(id=np.arange(self.batch_size, dtype=np.int32))
      for own in unpack.unpack(batch, found, unknown=True):
        if own.index < len(rows) and turn < len(rows[own.index].prompts):
          first = rows[own.index].prompts[turn][0]
          parts[own.index].append((first, asked[own.index], own))
    return [
        self._answer(row, own) for row, own in zip(rows, parts, strict=True)
    ]

  def _answer(self, row: Row, parts: Sequence[Any]) -> Answer:
    """Joins what the prompts of one question gave."""
    text = row.question.asked.text
    boxes = np.concatenate([own.boxes for _, _, own in parts])
    scores = np.concatenate([own.scores for _, _, own in parts])
    labels = np.concatenate([
        np.where(own.labels < 0, -1, own.labels + first)
        for first, _, own in parts
    ])
    phrases: list[str] = []
    for first, prompt, own in parts:
      if own.tokens is None:
        phrases += [text.name(i + first if i >= 0 else i) for i in own.labels]
      else:
        # Named by tokens, in the words that the tokenizer makes of them.
        tokenizer = tokenizers.load_tokenizer(self.data.tokenizer)
        ids = prompt.ids[0]
        phrases += [tokenizer.decode(ids[tokens]) for tokens in own.tokens]
    # Stable: of equal scores the prompt that came first.
    order = np.argsort(-scores, kind='stable')
    return Answer(
        row.question,
        row.size,
        boxes[order],
        scores[order],
        labels[order],
        tuple(phrases[i] for i in order),
    )
