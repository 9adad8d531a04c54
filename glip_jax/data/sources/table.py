"""The table of sources, and how one is opened."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ml_collections

from glip_jax import errors, fields
from glip_jax.data.sources import (
    annotation_file,
    image_list,
    prompted,
    record_files,
    tfds_files,
)
from glip_jax.data.sources.coco import CocoSource
from glip_jax.data.sources.flickr30k import Flickr30kSource
from glip_jax.data.sources.lvis import LvisSource
from glip_jax.data.sources.mdetr import MdetrSource
from glip_jax.data.sources.odinw import OdinwSource
from glip_jax.data.sources.odvg import open_odvg
from glip_jax.data.sources.packed import open_packed
from glip_jax.data.sources.protocol import Source
from glip_jax.data.sources.pseudo_labels import PseudoLabelSource
from glip_jax.data.sources.selection import Selection
from glip_jax.data.sources.tfds import open_tfds
from glip_jax.data.sources.voc import VocSource
from glip_jax.data.sources.webdataset import WebdatasetSource
from glip_jax.data.sources.yolo import YoloSource
from glip_jax.data.specs import Spec
from glip_jax.errors import UserError
from glip_jax.shapes.source import open_world
from glip_jax.text import class_prompts

# What opens each kind: its arguments are the fields of a `Spec` that it reads,
# and `selection`, made of those that are fields of a `Selection`.
SOURCES = {
    'coco': CocoSource,
    'lvis': LvisSource,
    'mdetr': MdetrSource,
    'voc': VocSource,
    'yolo': YoloSource,
    'odvg': open_odvg,
    'flickr30k': Flickr30kSource,
    'pseudo_labels': PseudoLabelSource,
    'odinw': OdinwSource,
    'webdataset': WebdatasetSource,
    'tfds': open_tfds,
    'records': open_packed,
    'shapes': open_world,
}

# What `annotations` are by the end of their name; COCO otherwise.
_BY_SUFFIX = {'.jsonl': 'odvg', '.yaml': 'yolo', '.yml': 'yolo'}

# Fields that say where data is: one that would not be read is a mistake.
_PLACES = ('annotations', 'images', 'directory', 'label_map')
# The one that may be a bucket, as TFDS reads these by itself.
_BUCKETS = 'tfds', 'directory'


def open_source(
    spec: Spec | Mapping[str, Any] | ml_collections.ConfigDict,
    *,
    bad_records: str = 'skip',
    what: str = 'spec',
) -> Source:
  """Opens the source that a config describes: a detection or a grounding one.

  Args:
    spec: fields of a `Spec`. Those that are empty, and those of other sources
      that name no place, are not looked at, so that one config can be switched
      from one source to another on the command line.
    bad_records: 'skip' or 'raise', for sources that can have broken records.
    what: name of the spec, for messages.

  Raises:
    UserError: if a field is unknown, wrong, missing or of another source, or
      the source cannot be opened.
  """
  name, arguments = _read(spec, what)
  if 'bad_records' in inspect.signature(SOURCES[name]).parameters:
    arguments['bad_records'] = bad_records
  wordings = _class_prompts(spec, what)
  with errors.naming(what):
    source = SOURCES[name](**arguments)
    return prompted.by_class(source, wordings) if wordings else source


def check_places(specs: Mapping[str, Spec]) -> None:
  """Refuses sources whose files or folders are not there; reads nothing.

  Args:
    specs: by the name of each, for messages.

  Raises:
    UserError: as `open_source`, as far as that can be told without reading.
  """
  for what, spec in specs.items():
    name, places = _read(spec, what)
    _class_prompts(spec, what)
    with errors.naming(what):
      if 'annotations' in places:
        annotation_file.check(places['annotations'], name='annotations')
      if 'images' in places:
        image_list.check_folder(places['images'])
      if 'directory' in places and name == 'tfds':
        tfds_files.find_version(places['directory'], places.get('dataset', ''))
      elif 'directory' in places:
        _check_directory(places['directory'])


def _class_prompts(
    spec: Spec | Mapping[str, Any] | ml_collections.ConfigDict, what: str
) -> class_prompts.Wordings:
  """The words around the names of classes that a spec asks for; {} if none."""
  path = fields.from_dict(Spec, spec, what).class_prompts
  with errors.naming(what):
    return class_prompts.read(path) if path else {}


def _check_directory(folder: str) -> None:
  if not os.path.isdir(folder):
    raise UserError(
        f'directory={folder!r} is not a folder; give the folder of the data set'
    )


def _read(
    spec: Spec | Mapping[str, Any] | ml_collections.ConfigDict, what: str
) -> tuple[str, dict[str, Any]]:
  """The kind of a source, and the arguments that a spec has for it."""
  spec = fields.from_dict(Spec, spec, what)
  name = spec.source or _infer(spec)
  parameters = inspect.signature(SOURCES[name]).parameters
  given = {
      key: os.path.expanduser(value) if key in _PLACES else value
      for key in fields.names(Spec)
      if (value := getattr(spec, key)) not in ('', ())
  }
  with errors.naming(what):
    given['selection'] = Selection(**{
        key: given.pop(key) for key in fields.names(Selection) if key in given
    })
  weights = fields.to_dict(spec.prompts)
  given['prompts'] = weights if any(weights.values()) else None
  for key in _PLACES:
    errors.check_no_url(
        f'{what}.{key}', given.get(key), buckets=(name, key) == _BUCKETS
    )
    if key in given and key not in parameters:
      raise UserError(
          f'{what}: {key!r} is no field of source={name!r}; its fields are'
          f' {", ".join(_fields(parameters))}'
      )
  for key, parameter in parameters.items():
    if parameter.default is parameter.empty and key not in given:
      raise UserError(f'{what}: source={name!r} needs {key!r}; give {key}=...')
  return name, {k: value for k, value in given.items() if k in parameters}


def _fields(parameters: Iterable[str]) -> Iterator[str]:
  """The fields of a spec that a source reads."""
  for key in parameters:
    if key == 'selection':
      yield from fields.names(Selection)
    elif key != 'bad_records':
      yield key


def _infer(spec: Spec) -> str:
  suffix = os.path.splitext(spec.annotations)[1].lower()
  if spec.annotations or spec.images:
    return _BY_SUFFIX.get(suffix, 'coco')
  if spec.directory:
    packed = record_files.is_packed(os.path.expanduser(spec.directory))
    return 'records' if packed else 'tfds'
  return 'shapes'
