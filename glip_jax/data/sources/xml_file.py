"""XML files of annotations, without what XML can do beyond holding data.

A document type is refused, and with it all entities but the five that stand for
characters: no text grows, and no other file is read.
"""

from __future__ import annotations

import os
import pathlib
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from glip_jax import errors
from glip_jax.errors import UserError

# Ten thousand boxes take three million.
_MAX_BYTES = 2**24


def read_xml(path: str | os.PathLike[str]) -> Element:
  """Reads a file.

  Raises:
    UserError: if it cannot be read, is over 16 MB, is not well-formed, or has
      a document type.
  """
  path = pathlib.Path(path)
  errors.check_file('file', path)
  try:
    if path.stat().st_size > _MAX_BYTES:
      raise UserError(f'{path} is over {_MAX_BYTES} bytes; split it')
    return _parse(path.read_bytes())
  except OSError as error:
    reason = error.strerror or error
  except _HasDoctype:
    reason = 'it has a document type, which could name other files'
  except (expat.ExpatError, LookupError, ValueError) as error:
    if isinstance(error, UserError):
      raise
    reason = f'not well-formed: {error}'
  raise UserError(f'{path} cannot be read ({reason}); mend or remove it')


class _HasDoctype(Exception):
  """A document type begins."""


def _parse(data: bytes) -> Element:
  builder, parser = TreeBuilder(), expat.ParserCreate()
  parser.buffer_text = True
  parser.StartDoctypeDeclHandler = _refuse
  parser.StartElementHandler = builder.start
  parser.EndElementHandler = builder.end
  parser.CharacterDataHandler = builder.data
  parser.Parse(data, True)
  return builder.close()


def _refuse(*_) -> None:
  raise _HasDoctype
