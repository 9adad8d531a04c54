"""The prompt beneath an image, its phrases on the colours of their boxes."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from PIL import Image, ImageDraw

from glip_jax import draw_fonts, draw_labels
from glip_jax.draw_labels import Colour
from glip_jax.text import prompts

_PAPER = (255, 255, 255)
_INK = (16, 16, 16)
_MARGIN = 8
# Of what is longer the beginning is shown.
_MOST_LINES = 8


class _Word(NamedTuple):
  """A word of a prompt.

  Attributes:
    text: without white space.
    colour: of its phrase; None where no box answers it.
    joins: True where it stands close behind the word before.
  """

  text: str
  colour: Colour | None
  joins: bool


def with_prompt(
    image: Image.Image,
    text: prompts.TextPrompt,
    colours: Mapping[str, Colour],
) -> Image.Image:
  """An image on white, the prompt wrapped beneath it.

  Of a word in several phrases the first that has a colour counts. More than
  eight lines end in an ellipsis.

  Args:
    image: RGB, with its boxes.
    text: the prompt.
    colours: of phrases that boxes answer; other words stand on white.
  """
  height = draw_labels.letter_height(image.size)
  step = draw_labels.line_height(height) + 4
  lines = _lines(list(_words(text, colours)), height, image.width)
  if len(lines) > _MOST_LINES:
    lines = lines[:_MOST_LINES]
    lines[-1] = [*lines[-1][:-1], _Word('…', None, False)]
  size = image.width, image.height + step * len(lines) + _MARGIN
  paper = Image.new('RGB', size, _PAPER)
  paper.paste(image, (0, 0))
  pen = ImageDraw.Draw(paper)
  for number, line in enumerate(lines):
    _write_line(pen, line, image.height + _MARGIN // 2 + number * step, height)
  return paper


def _words(
    text: prompts.TextPrompt, colours: Mapping[str, Colour]
) -> Iterator[_Word]:
  """The caption in words, cut also where a phrase begins or ends."""
  of: list[Colour | None] = [None] * len(text.caption)
  for phrase, spans in zip(text.phrases, text.spans, strict=True):
    for start, end in spans:
      for i in range(start, end):
        of[i] = of[i] or colours.get(phrase)
  start = 0
  while start < len(of):
    if text.caption[start].isspace():
      start += 1
      continue
    end = start
    while end < len(of) and not text.caption[end].isspace():
      if of[end] != of[start]:
        break
      end += 1
    joins = start > 0 and not text.caption[start - 1].isspace()
    yield _Word(text.caption[start:end], of[start], joins)
    start = end


def _lines(words: list[_Word], height: int, width: int) -> list[list[_Word]]:
  """Words in lines of at most `width` pixels, margins included."""
  lines: list[list[_Word]] = [[]]
  for word in words:
    own = draw_labels.fit(word.text, height, width - 2 * _MARGIN)
    word = word._replace(text=own)
    if (
        lines[-1]
        and not word.joins
        and (_line_width([*lines[-1], word], height) > width - 2 * _MARGIN)
    ):
      lines.append([])
    lines[-1].append(word)
  return lines


def _line_width(line: list[_Word], height: int) -> float:
  return sum(
      _length(word.text, height) + _gap(word, i, height)
      for i, word in enumerate(line)
  )


def _gap(word: _Word, place: int, height: int) -> float:
  """White space before a word."""
  return 0 if word.joins or not place else _length(' ', height)


def _length(text: str, height: int) -> float:
  return draw_fonts.font(height, text).getlength(text)


def _write_line(
    pen: ImageDraw.ImageDraw, line: list[_Word], y: int, height: int
) -> None:
  """Writes words, those of one phrase on one ground."""
  x, before = float(_MARGIN), None
  for i, word in enumerate(line):
    gap, length = _gap(word, i, height), _length(word.text, height)
    if word.colour is not None:
      left = x if before == word.colour else x + gap
      tall = draw_labels.line_height(height, word.text) + 2
      pen.rectangle((left - 1, y, x + gap + length, y + tall), fill=word.colour)
    ink = _INK if word.colour is None else draw_labels.ink(word.colour)
    face = draw_fonts.font(height, word.text)
    pen.text((x + gap, y + 1), word.text, fill=ink, font=face)
    x, before = x + gap + length, word.colour
