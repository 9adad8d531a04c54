"""The files of a set that TensorFlow Datasets has prepared, read at random.

TensorFlow itself is not needed, and neither is the code of the set: all that
is read is a prepared version, stored as ArrayRecord.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from glip_jax.errors import UserError

_INFO = 'dataset_info.json'
_VERSION = re.compile(r'(\d+)\.(\d+)\.(\d+)')

# The parts of a feature that are read; None: the feature has no parts.
Wanted = Mapping[str, tuple[str, ...] | None]


class Examples:
  """Examples of a split, of which only what is wanted is parsed.

  Images stay encoded. Open files stay in their process: a copy that is sent
  opens its own.

  Attributes:
    directory: folder of the prepared version.
    split: which part of it.
    name: what the set is called.
  """

  def __init__(self, directory: str | os.PathLike[str], split: str):
    """Opens the files.

    Args:
      directory: folder of a prepared version, which holds `dataset_info.json`.
      split: a TFDS split, such as 'train' or 'train[:10%]'.

    Raises:
      UserError: if there is no such version or split, or it is not stored as
        ArrayRecord.
    """
    self.directory, self.split = os.fspath(directory), split
    self._wanted: Wanted = {}
    self._opened: tuple[Any, Any] | None = None
    self.name: str = self._open()[0].name

  def __getstate__(self) -> dict[str, Any]:
    own = {k: v for k, v in self.__dict__.items() if k != '_parser'}
    return own | {'_opened': None}

  def __len__(self) -> int:
    return len(self._open()[1])

  def __getitem__(self, index: int) -> dict[str, Any]:
    """What is wanted of an example.

    Raises:
      IndexError: if there is no such example.
      UserError: if it is damaged.
    """
    if not 0 <= index < len(self):
      raise IndexError(f'{index} is not in [0, {len(self)})')
    import tensorflow_datasets as tfds

    # Images stay encoded, so that they are read as all others are.
    decoders = {'image': tfds.decode.SkipDecoding()}
    if 'image' not in self._wanted:
      decoders = None
    try:
      return self._parser.deserialize_example_np(
          self._open()[1][index], decoders=decoders
      )
    except Exception as error:  # Each layer has errors of its own.
      raise UserError(
          f'example {index} of split={self.split!r} in {self.directory} is'
          f' damaged ({_reason(error)}); copy or prepare the set anew'
      ) from error

  @property
  def features(self) -> Mapping[str, Any]:
    """What an example has: `tfds.features` by name."""
    return self._open()[0].info.features

  @property
  def has_images(self) -> bool:
    """Whether `image` is an image: encoded, or pixels as these are read."""
    import tensorflow_datasets as tfds

    feature = self.features['image'] if 'image' in self.features else None
    if isinstance(feature, tfds.features.Image):
      return True
    shape = getattr(feature, 'shape', ())
    is_rgb = len(shape) == 3 and shape[-1] == 3
    return is_rgb and feature.np_dtype == np.uint8

  def want(self, wanted: Wanted) -> None:
    """Says what is read of each example."""
    self._wanted = wanted
    self.__dict__.pop('_parser', None)

  @functools.cached_property
  def _parser(self) -> Any:
    """The features that are wanted, which parse no others."""
    import tensorflow_datasets as tfds

    kept = {}
    for key, parts in self._wanted.items():
      feature = self.features[key]
      if parts is not None:
        inner = getattr(feature, 'feature', feature)
        feature = tfds.features.Sequence({part: inner[part] for part in parts})
      kept[key] = feature
    return tfds.features.FeaturesDict(kept)

  def _open(self) -> tuple[Any, Any]:
    """The builder and the raw examples, opened once per process."""
    if self._opened is None:
      # Slow to import, and not needed by the other sources.
      import tensorflow_datasets as tfds

      try:
        builder = tfds.builder_from_directory(self.directory)
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        opened = builder, builder.as_data_source(
            self.split, deserialize_method=raw
        )
        split = builder.info.splits.get(self.split)
      except Exception as error:  # Each file format has errors of its own.
        raise UserError(
            f'directory={self.directory!r} split={self.split!r} cannot be'
            f' opened ({_reason(error)}); give the folder with {_INFO} of a set'
            " prepared with file_format='array_record'"
        ) from error
      self._check_files(split.file_instructions)
      self._opened = opened
    return self._opened

  def _check_files(self, instructions: Sequence[Any]) -> None:
    """Refuses a split of which a file is missing or, on a disk, cut short."""
    names = {os.path.basename(each.filename) for each in instructions}
    there = {each.name for each in epath.Path(self.directory).iterdir()}
    damaged = {name: 'is missing' for name in names - there}
    if '://' not in self.directory:
      for each in instructions:
        name = os.path.basename(each.filename)
        if name in there and (reason := _damage(each)):
          damaged[name] = reason
    if damaged:
      name = min(damaged)
      raise UserError(
          f'{len(damaged)} of the {len(names)} files of split={self.split!r} in'
          f' directory={self.directory!r} cannot be read: {name}'
          f' {damaged[name]}; copy or prepare the set anew'
      )


def _damage(instruction: Any) -> str:
  """What is wrong with a file, as far as its end tells; '' if nothing is."""
  from array_record.python import array_record_module

  try:
    reader = array_record_module.ArrayRecordReader(instruction.filename)
    count = reader.num_records()
    reader.close()
  except Exception as error:  # The library has no type of its own.
    return f'is damaged ({_reason(error)})'
  expected = instruction.examples_in_shard
  return '' if count == expected else f'holds {count} examples, not {expected}'


def _reason(error: Exception) -> str:
  return ' '.join(str(error).split())[:160] or type(error).__name__


def find_version(directory: str | os.PathLike[str], dataset: str) -> str:
  """The folder of a prepared version.

  Args:
    directory: the folder itself; with `dataset` the `data_dir` of TFDS, which
      holds it.
    dataset: name of the set as TFDS has it, such as 'voc/2007' or
      'voc/2007:5.0.0'; without a version it is the highest.

  Raises:
    UserError: if there is no such thing. Nothing is ever downloaded.
  """
  directory = os.fspath(directory)
  if not dataset:
    # A bucket is looked at when it is opened.
    if '://' not in directory and not _is_prepared(epath.Path(directory)):
      raise UserError(
          f'directory={directory!r} cannot be opened (no {_INFO}); give the'
          " folder of a version that TFDS has prepared as 'array_record', or"
          ' the data_dir of TFDS and dataset=, for example voc/2007'
      )
    return directory
  name, _, version = dataset.partition(':')
  folder = epath.Path(directory) / name
  if version:
    versions = [folder / version]
  else:
    versions = [folder, *reversed(_versions(folder))]
  for each in versions:
    if _is_prepared(each):
      return os.fspath(each)
  configs = [each.name for each in _folders(folder) if _versions(each)]
  if configs and not version:
    raise UserError(
        f'dataset={dataset!r} is prepared in {directory} as'
        f" {', '.join(sorted(configs))}: give dataset='{name}/{configs[0]}'"
    )
  raise UserError(
      f'dataset={dataset!r} is not prepared in directory={directory!r}, and'
      ' nothing is downloaded here; prepare it once by python -c "import'
      f" tensorflow_datasets as tfds; tfds.builder('{dataset}',"
      f" data_dir='{directory}', file_format='array_record')"
      '.download_and_prepare()"'
  )


def _is_prepared(folder: epath.Path) -> bool:
  return (folder / _INFO).exists()


def _folders(folder: epath.Path) -> list[epath.Path]:
  if not folder.is_dir():
    return []
  return sorted(each for each in folder.iterdir() if each.is_dir())


def _versions(folder: epath.Path) -> list[epath.Path]:
  """The folders of versions in one, the highest last."""
  found = [
      (tuple(map(int, match.groups())), each)
      for each in _folders(folder)
      if (match := _VERSION.fullmatch(each.name)) and _is_prepared(each)
  ]
  return [each for _, each in sorted(found)]
