"""Fonts for names in any script, from what the machine has.

Pillow's own font has Latin letters. For others fontconfig is asked, as every
desktop program does; letters that no font has are written as escapes.
"""

import functools
import shutil
import subprocess

from absl import logging
from PIL import ImageFont

_SECONDS = 10  # That fontconfig may take to read its cache anew.
_SAMPLE = 16  # Height at which glyphs are compared.
# A place that Unicode gives to nobody: drawn as what a font lacks.
_NOBODY = '\U0010fffd'


def font(height: int, text: str = '') -> ImageFont.FreeTypeFont:
  """A font for a text that `drawable` returned.

  Args:
    height: of its letters, in pixels.
    text: what is to be drawn.
  """
  lacking = _lacking(text)
  return _load(_system_font(lacking) if lacking else None, height)


@functools.lru_cache(maxsize=1024)
def drawable(text: str) -> str:
  """The text, with escapes in place of letters that no font here has."""
  lacking = _lacking(text)
  if not lacking or _system_font(lacking):
    return text
  logging.log_first_n(
      logging.WARNING,
      'no font of this machine has all letters of %r, and some are drawn as'
      r' escapes such as \u732b: install fonts that have them, and fontconfig',
      1,
      text,
  )
  there = [letter for letter in lacking if _system_font(letter)]
  # A text is drawn in one font.
  if not _system_font(''.join(there)):
    there = []
  escapes = {x: _escape(x) for x in lacking if x not in there}
  return ''.join(escapes.get(letter, letter) for letter in text)


def _escape(letter: str) -> str:
  return letter.encode('unicode_escape').decode()


@functools.lru_cache(maxsize=64)
def _load(path: str | None, height: int) -> ImageFont.FreeTypeFont:
  """A font of a file, Pillow's own for None."""
  if path is None:
    return ImageFont.load_default(height)
  return ImageFont.truetype(path, height)


def _lacking(text: str) -> str:
  """The letters of a text that Pillow's own font lacks, each once."""
  return ''.join(x for x in dict.fromkeys(text) if not _has(None, x))


@functools.lru_cache(maxsize=4096)
def _has(path: str | None, letter: str) -> bool:
  """Whether a font has a letter, or needs none for it."""
  if letter.isspace():
    return True
  face = _load(path, _SAMPLE)
  glyph, blank = face.getmask(letter), face.getmask(_NOBODY)
  return (glyph.size, bytes(glyph)) != (blank.size, bytes(blank))


@functools.lru_cache(maxsize=256)
def _system_font(letters: str) -> str | None:
  """File of a font that has these letters, and Latin ones."""
  program = shutil.which('fc-match')
  if program is None:
    return None
  charset = ' '.join(f'{ord(letter):x}' for letter in letters + 'Aa')
  try:
    found = subprocess.run(
        [program, '-f', '%{file}', f':charset={charset}'],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    ).stdout
    whole = all(_has(found, letter) for letter in letters + 'Aa')
  except (OSError, ValueError, subprocess.SubprocessError):
    return None
  return found if whole else None
