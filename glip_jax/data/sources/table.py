"""The table of sources, and how one is opened."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

import ml_collections

from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.mdetr import MdetrSource
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.tfds import TfdsSource
from glip_jax.errors import UserError
from glip_jax.shapes.source import ShapesSource

SOURCES = {
    'coco': CocoSource,
    'mdetr': MdetrSource,
    'shapes': ShapesSource,
    'tfds': TfdsSource,
}

# Fields of a spec that are the pipeline's, not a source's.
_PIPELINE_FIELDS = ('source', 'weight')
# Fields that say where data is: one that would not be read is a mistake.
_PLACES = ('annotations', 'images', 'directory')


def open_source(
    spec: Mapping[str, Any] | ml_collections.ConfigDict,
    *,
    bad_records: str = 'skip',
) -> Source:
  """Opens the source that a config describes.

  Args:
    spec: `source`, a name in `SOURCES`, and the arguments of that source. With
      an empty `source`, 'coco' if there are `annotations` or `images`, 'tfds'
      if there is a `directory`, otherwise 'shapes'. Empty fields, and fields of
      other sources that name no place, are not looked at, so that one config
      can be switched from one source to another on the command line.
    bad_records: 'skip' or 'raise', for sources that can have broken records.

  Raises:
    UserError: if the source or a field is unknown or missing, or the source
      cannot be opened.
  """
  fields = _as_dict(spec)
  name = fields.get('source') or _infer(fields)
  if name not in SOURCES:
    raise UserError(
        f'source={name!r} is not known; choose one of {", ".join(SOURCES)}'
    )
  parameters = inspect.signature(SOURCES[name]).parameters
  arguments = {key: fields[key] for key in parameters if key in fields}
  _check_fields(name, fields, parameters)
  for key in _PLACES:
    if isinstance(arguments.get(key), str):
      arguments[key] = os.path.expanduser(arguments[key])
  if 'bad_records' in parameters:
    arguments.setdefault('bad_records', bad_records)
  return SOURCES[name](**arguments)


def _as_dict(spec: Mapping[str, Any] | ml_collections.ConfigDict) -> dict:
  """Returns the fields of a spec that are filled in."""
  if isinstance(spec, ml_collections.ConfigDict):
    spec = spec.to_dict()
  return {
      key: value
      for key, value in spec.items()
      if value is not None and value != '' and value != ()
  }


def _infer(fields: Mapping[str, Any]) -> str:
  if 'annotations' in fields or 'images' in fields:
    return 'coco'
  return 'tfds' if 'directory' in fields else 'shapes'


def _check_fields(
    name: str,
    fields: Mapping[str, Any],
    parameters: Mapping[str, inspect.Parameter],
) -> None:
  """Refuses fields that no source has, stray places and missing arguments."""
  known = set(_PIPELINE_FIELDS).union(
      *(inspect.signature(source).parameters for source in SOURCES.values())
  )
  unknown = sorted(set(fields) - known)
  stray = [key for key in _PLACES if key in fields and key not in parameters]
  if unknown or stray:
    raise UserError(
        f'{(unknown or stray)[0]!r} is no field of source={name!r}; its fields'
        f' are {", ".join(parameters)}'
    )
  for key, parameter in parameters.items():
    if parameter.default is parameter.empty and key not in fields:
      raise UserError(f'source={name!r} needs {key!r}; give {key}=...')
