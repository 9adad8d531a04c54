"""Grounding data: captions whose phrases are linked to boxes.

The format is that of MDETR and GLIP: a COCO file whose images have a `caption`
and whose annotations have `tokens_positive`, a list of [start, end) character
spans of that caption.
"""

from __future__ import annotations

import os

from glip_jax.data.sources import annotation_file
from glip_jax.data.sources.annotation_file import Report
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
      images: folder that the `file_name`s are relative to.
      selection: which part of the images to use; it has no classes.
      bad_records: 'skip' leaves out what is broken; 'raise' refuses it.

    Raises:
      UserError: if the file or folder is missing or no such thing, has no
        usable image with a caption, or a record is broken and to be refused.
    """
    report = Report(os.fspath(annotations), bad_records=bad_records)
    content = annotation_file.read_json(annotations, name='annotations')
    super().__init__(
        annotation_file.entries(content, 'images', report),
        annotation_file.entries(content, 'annotations', report),
        images=images,
        selection=selection,
        report=report,
    )
    report.log()
