"""Runs train.py and writes down which records each step got.

  python recorded_run.py RECORDS [--address=HOST:PORT --process=I] [train.py's]

RECORDS gets a line for each step that was begun: a list of [id, checksum of
what the model is given of the record], as JSON. With an address it is one of
two processes.
"""

import json
import pathlib
import runpy
import sys
import zlib

import jax
import numpy as np

from glip_jax.training import feeding

_ROOT = pathlib.Path(__file__).parents[1]


def main():
  out, *arguments = sys.argv[1:]
  options = {}
  while arguments and arguments[0].startswith(('--address=', '--process=')):
    name, _, value = arguments.pop(0).partition('=')
    options[name] = value
  if options:
    jax.distributed.initialize(
        options['--address'],
        num_processes=2,
        process_id=int(options['--process']),
    )
  _record(pathlib.Path(out))
  sys.argv = [str(_ROOT / 'train.py'), *arguments]
  runpy.run_path(sys.argv[0], run_name='__main__')


def _record(out: pathlib.Path):
  given = feeding.Feed.__next__

  def next_and_record(feed):
    batch = given(feed)
    rows = []
    for row, number in enumerate(batch.id.tolist()):
      parts = (
          batch.image[row],
          batch.prompt.ids[row],
          batch.targets.boxes[row],
      )
      data = b''.join(np.ascontiguousarray(part).tobytes() for part in parts)
      rows.append([number, zlib.crc32(data)])
    with out.open('a') as file:
      file.write(json.dumps(rows) + '\n')
    return batch

  feeding.Feed.__next__ = next_and_record


if __name__ == '__main__':
  main()
