"""Packing: it goes on where it was stopped, and tells what it cannot do."""

import json
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from PIL import Image

from glip_jax import errors, folder_lock
from glip_jax.data import packing
from glip_jax.data.sources import record_files, table
from glip_jax.tools import to_records

COUNT = 10


@pytest.fixture
def folder(tmp_path):
  """A COCO file of ten JPEGs with a box each."""
  images, boxes = [], []
  rng = np.random.default_rng(0)
  for n in range(COUNT):
    pixels = rng.integers(0, 256, (20 + n, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{n}.jpg')
    images.append({'id': n, 'file_name': f'{n}.jpg'})
    boxes.append({'image_id': n, 'category_id': 1, 'bbox': [1, 2, 9, 9]})
  content = {'images': images, 'annotations': boxes}
  content['categories'] = [{'id': 1, 'name': 'red circle'}]
  (tmp_path / 'all.json').write_text(json.dumps(content))
  return tmp_path


def _source(folder, bad_records='skip'):
  spec = {'annotations': str(folder / 'all.json')}
  return table.open_source(spec, bad_records=bad_records)


def _pack(folder, bad_records='skip', **arguments):
  source = _source(folder, bad_records)
  arguments = {'shard_images': 4, 'bad_records': bad_records} | arguments
  return packing.pack(source, folder / 'out', **arguments)


def _state(folder):
  found = (folder / 'out').glob('*.array_record')
  return {path.name: path.stat().st_mtime_ns for path in found}


class _Killed(BaseException):
  """Nothing of the program sees it, like a signal that kills."""


def _stopped(what, at):
  def progress(now, done, total):
    del total
    if now == what and done >= at:
      raise _Killed

  return progress


@pytest.mark.parametrize(
    'what, at, left', [('packed', 7, 1), ('verified', 5, 3)]
)
def test_a_killed_run_goes_on_with_the_shards_that_are_missing(
    folder, what, at, left
):
  with pytest.raises(_Killed):
    _pack(folder, progress=_stopped(what, at))
  before = _state(folder)
  assert len(before) == left
  with pytest.raises(errors.UserError, match='holds no records.json.*run that'):
    table.open_source({'directory': str(folder / 'out')})
  header = _pack(folder)
  after = _state(folder)
  assert header.shard_records == (4, 4, 2) and not header.left_out
  assert {name: after[name] for name in before} == before
  names = {path.name for path in (folder / 'out').iterdir()}
  assert names == {*after, 'records.json', 'records.npz'}
  source, copy = _source(folder), table.open_source(
      {'directory': str(folder / 'out')}
  )
  for index in range(COUNT):
    assert copy.image_file(index) == source.image_file(index)


def test_a_shard_whose_annotations_changed_is_made_anew(folder):
  with pytest.raises(_Killed):
    _pack(folder, progress=_stopped('verified', 1))
  before = _state(folder)
  path = folder / 'all.json'
  path.write_text(path.read_text().replace('[1, 2, 9, 9]', '[1, 2, 9, 8]', 1))
  _pack(folder)
  changed = {name for name, at in _state(folder).items() if at != before[name]}
  assert changed == {record_files.shard_name(0, 3)}
  copy = table.open_source({'directory': str(folder / 'out')})
  assert copy.truth(0).boxes.tolist() == [[1, 2, 10, 10]]
  assert copy.ground_truth() == _source(folder).ground_truth()


def test_a_damaged_shard_is_found_at_the_end_and_made_anew(folder):
  with pytest.raises(_Killed):
    _pack(folder, progress=_stopped('verified', 1))
  path = folder / 'out' / record_files.shard_name(1, 3)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  with pytest.raises(errors.UserError, match=f'{path}: image .*run again'):
    _pack(folder)
  assert len(_state(folder)) == 2
  assert _pack(folder).shard_records == (4, 4, 2)


def test_a_broken_image_is_left_out_and_counted_or_refused(folder):
  path = folder / '5.jpg'
  whole = path.read_bytes()
  path.write_bytes(whole[:300])
  with pytest.raises(
      errors.UserError, match='record 5: .*5.jpg cannot be read'
  ):
    _pack(folder, 'raise')
  shutil.rmtree(folder / 'out')
  with pytest.raises(_Killed):
    _pack(folder, progress=_stopped('verified', 1))
  path.write_bytes(whole)  # It has been mended before the run goes on.
  assert _pack(folder).left_out == 0
  shutil.rmtree(folder / 'out')
  path.write_bytes(whole[:300])
  header = _pack(folder)
  assert header.left_out == 1 and header.shard_records == (4, 3, 2)
  copy = table.open_source({'directory': str(folder / 'out')})
  ids = [copy.image_id(index) for index in range(len(copy))]
  assert ids == [0, 1, 2, 3, 4, 6, 7, 8, 9]
  assert all(copy[i].image.shape == (20 + n, 30, 3) for i, n in enumerate(ids))


def test_other_folders_are_left_alone(folder):
  _pack(folder)
  with pytest.raises(errors.UserError, match='holds a packed source already'):
    _pack(folder)
  (folder / 'out' / 'records.json').unlink()
  with pytest.raises(errors.UserError, match='of-00003.* is no shard of this'):
    _pack(folder, shard_images=5)
  with pytest.raises(errors.UserError, match='shard_images=0 must be 1 or'):
    _pack(folder, shard_images=0)


def test_a_full_disk_is_one_line_and_the_run_goes_on(folder):
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
  try:
    told = 'cannot be written .*too large.*make room.*it goes on'
    with pytest.raises(errors.UserError, match=told) as caught:
      _pack(folder)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert '\n' not in str(caught.value)
  assert not list((folder / 'out').iterdir())
  assert _pack(folder).shard_records == (4, 4, 2)


def test_what_is_broken_throughout_is_refused(folder):
  for path in folder.glob('*.jpg'):
    path.write_bytes(b'no image')
  with pytest.raises(
      errors.UserError, match='none of the 10 records is usable'
  ):
    _pack(folder)


def _main(monkeypatch, *arguments):
  values = flags.FlagValues()
  # Fields of a config are declared from the command line itself.
  argv = [sys.argv[0], '--config=configs/finetune.py', *arguments]
  monkeypatch.setattr(sys, 'argv', argv)
  to_records._define_flags(values)
  monkeypatch.setattr(to_records.flags, 'FLAGS', values)
  values(argv)
  to_records.main([])


def test_the_command_packs_a_source_by_the_name_of_its_field(
    folder, monkeypatch, capsys
):
  file = f'--config.evals.val.data.annotations={folder / "all.json"}'
  out = folder / 'out'
  _main(monkeypatch, file, '--source=evals.val', f'--out={out}')
  told = r'10 records in 1 shards \(0.1 MB\) are in .*; read them by source='
  assert re.match(told, capsys.readouterr().out)
  assert len(table.open_source({'directory': str(out)})) == COUNT
  with pytest.raises(errors.UserError, match='choose one of train, evals.val'):
    _main(monkeypatch, file, '--source=evals.test', f'--out={folder / "b"}')
  with pytest.raises(errors.UserError, match='--out is missing'):
    _main(monkeypatch, file)
  (folder / 'mine').mkdir()
  with folder_lock.hold('out', folder / 'mine'):
    with pytest.raises(errors.UserError, match='in use by .*another --out'):
      mine = f'--out={folder / "mine"}'
      _main(monkeypatch, file, '--source=evals.val', mine)


def test_the_command_writes_sources_as_splits_of_a_tfds_set(
    folder, monkeypatch, capsys
):
  file = folder / 'all.json'
  fields = [
      f'--config.data.train.annotations={file}',
      f'--config.evals.val.data.annotations={file}',
      '--source=train,evals.val',
      f'--out={folder / "tfds"}',
  ]
  with pytest.raises(errors.UserError, match='are several: with --format='):
    _main(monkeypatch, *fields)
  with pytest.raises(errors.UserError, match='--name is missing'):
    _main(monkeypatch, *fields, '--format=tfds')
  _main(monkeypatch, *fields, '--format=tfds', '--name=raccoons')
  told = f'source=tfds, directory={folder / "tfds"}, dataset=raccoons, split='
  assert told in capsys.readouterr().out
  spec = {'source': 'tfds', 'directory': str(folder / 'tfds')}
  for split in 'train', 'val':
    own = spec | {'dataset': 'raccoons', 'split': split}
    assert len(table.open_source(own)) == COUNT


def test_bad_input_ends_in_one_line_and_status_1(tmp_path):
  command = [sys.executable, '-m', 'glip_jax.tools.to_records']
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1].startswith('error: --config is missing')
