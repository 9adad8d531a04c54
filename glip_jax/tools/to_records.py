"""Packs a source of a config into a few large files.

  python -m glip_jax.tools.to_records --config=configs/finetune.py \
      --config.data.train.annotations=my/train.json \
      --config.data.train.images=my/images --out=packed/train

Image files keep their bytes; where there are none PNGs are written. Read it by
`--config.data.train.directory=packed/train`: training is the same, bit for bit.
A run that was stopped goes on where it was; at the end all images are read
again and compared. What cannot be read is left out and named, or refused, as
`config.data.bad_records` says.

With `--format=tfds --name=my_set` it becomes a set of TensorFlow Datasets in
`--out`, which `tfds.data_source('my_set', data_dir=...)` reads, as does
`source=tfds, directory=..., dataset=my_set`; `--source=train,evals.val` are its
splits `train` and `val`.
"""

import contextlib
import functools
import os
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from glip_jax import configuring, errors, folder_lock, run, storage
from glip_jax.data import packing
from glip_jax.data.sources import protocol, table
from glip_jax.tools import config_sources, progress


def main(_: Sequence[str]):
  """Runs the command line."""
  options = flags.FLAGS
  if options.config is None:
    raise errors.UserError(
        '--config is missing: give the config whose source is to be packed'
    )
  out = _out(options.out)
  config = run.read(options.config)
  names = options.source.split(',')
  if options.format == 'tfds':
    _write_tfds(config, names, out, options.name)
    return
  if len(names) > 1:
    raise errors.UserError(
        f'--source={options.source} are several: with --format=records pack'
        ' each into a folder of its own'
    )
  source = _open(config, options.source)
  with folder_lock.hold('out', out), contextlib.closing(
      progress.Bars()
  ) as bars:
    header = packing.pack(
        source,
        out,
        shard_images=options.shard_images,
        bad_records=config.data.bad_records,
        progress=bars,
    )
  left_out = f', {header.left_out:,} left out,' if header.left_out else ''
  print(
      f'{sum(header.shard_records):,} records{left_out} in'
      f' {len(header.shard_records):,} shards'
      f' ({sum(header.shard_bytes) / 1e6:,.1f} MB) are in {out}; read them by'
      f' source=records, directory={out}'
  )


def _write_tfds(
    config: run.Run, names: Sequence[str], out: str, name: str | None
) -> None:
  """Writes sources of a config as a set of TFDS."""
  if not name:
    raise errors.UserError('--name is missing: give the TFDS set a name')
  splits = [each.rpartition('.')[2] for each in names]
  if len(set(splits)) < len(splits):
    raise errors.UserError(
        f'--source={",".join(names)} has two splits of one name: write them'
        ' under two names'
    )
  # Slow to import: only where it is asked for.
  from glip_jax.data import tfds_writing

  opened = [_open(config, each) for each in names]
  with folder_lock.hold('out', out):
    folder = tfds_writing.write(
        dict(zip(splits, opened, strict=True)),
        out,
        name=name,
        bad_records=config.data.bad_records,
    )
  print(
      f'{", ".join(splits)} are in {folder}; read them by source=tfds,'
      f' directory={out}, dataset={name}, split={splits[0]}'
  )


def _open(config: run.Run, name: str) -> protocol.Source:
  """One of the sources of a config."""
  spec = config_sources.source(config, name)
  source = table.open_source(
      spec, bad_records=config.data.bad_records, what=name
  )
  is_evaluated = name.startswith('evals.')
  return protocol.evaluated(source) if is_evaluated else source


def _out(path: str | None) -> str:
  """The folder to write, if it can be."""
  if not path:
    raise errors.UserError('--out is missing: give a folder to write to')
  errors.check_no_url('--out', path)
  out = os.path.expanduser(path)
  storage.check_folder('--out', out)
  return out


def _define_flags(values: flags.FlagValues = flags.FLAGS):
  string = functools.partial(flags.DEFINE_string, flag_values=values)
  config_flags.DEFINE_config_file(
      'config', None, 'Config whose source is packed.', flag_values=values
  )
  string(
      'source',
      'train',
      'Which: train, train.NAME, curriculum.NAME, evals.NAME.',
  )
  string('out', None, 'Folder to write to; of tfds its data_dir.')
  string('name', None, 'Of tfds: what the set is called.')
  flags.DEFINE_enum(
      'format',
      'records',
      ['records', 'tfds'],
      'What to write.',
      flag_values=values,
  )
  flags.DEFINE_integer(
      'shard_images', 2048, 'Images of a file.', flag_values=values
  )


if __name__ == '__main__':
  _define_flags()
  configuring.run(main)
