"""Grounding data: captions whose phrases are linked to boxes.

The format is that of MDETR and GLIP: a COCO file whose images have a `caption`
and whose annotations have `tokens_positive`, a list of [start, end) character
spans of that caption.
"""

from __future__ import annotations

import os
import re
from typing import Any

from glip_jax.data.sources import annotation_file
from glip_jax.data.sources.annotation_file import Entries, Report
from glip_jax.data.sources.grounding import GroundingRecords
from glip_jax.data.sources.selection import Selection


class MdetrSource(GroundingRecords):
  """Random access to a file of captions with linked boxes."""

  def __init__(
      self,
      *,
      annotations: str | os.PathLike[str],
      images: str | os.PathLike[str],
      selection: Selection = Selection(),
      bad_records: str = 'skip',
  ):
    """Parses the file.

    Args:
      annotations: the JSON file.
      images: folder that the `file_name`s are relative to; those of an image
        with a `data_source` to the folder of that name in it, where there is
        one, as GoldG mixes `coco` and `vg`.
      selection: which part of the images to use; it has no classes.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the file or folder is missing or no such thing, has no
        usable image with a caption, or a record is broken and to be refused.
    """
    report = Report(os.fspath(annotations), bad_records=bad_records)
    content = annotation_file.read_json(annotations, name='annotations')
    captioned = annotation_file.entries(content, 'images', report)
    super().__init__(
        _in_their_folders(captioned, os.fspath(images)),
        annotation_file.entries(content, 'annotations', report),
        images=images,
        selection=selection,
        report=report,
    )
    report.log()


def _in_their_folders(captioned: Entries, images: str) -> Entries:
  """Entries whose names begin with the folder of their `data_source`."""
  stated = {image.get('data_source') for _, image in captioned if _named(image)}
  folders = {
      name for name in stated if os.path.isdir(os.path.join(images, name))
  }
  return [
      (name, image | {'file_name': _joined(image)})
      if _named(image) and image['data_source'] in folders
      else (name, image)
      for name, image in captioned
  ]


def _named(image: dict[str, Any]) -> bool:
  """Whether an image says which folder it is in: one name, and no path."""
  source, file = image.get('data_source'), image.get('file_name')
  return (
      isinstance(file, str)
      and isinstance(source, str)
      and (re.fullmatch(r'\w[\w.-]*', source) is not None)
  )


def _joined(image: dict[str, Any]) -> str:
  return f"{image['data_source']}/{image['file_name']}"
