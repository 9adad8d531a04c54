"""Tar shards of images and captions as a source."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from glip_jax.data.images import BadImage
from glip_jax.data.sources import table
from glip_jax.data.sources.protocol import is_detection
from glip_jax.data.sources.selection import Selection
from glip_jax.data.sources.webdataset import WebdatasetSource
from glip_jax.errors import UserError


def _image(value=0, kind='JPEG'):
  stream = io.BytesIO()
  Image.new('RGB', (40, 30), (value, 0, 0)).save(stream, kind)
  return stream.getvalue()


def _write(path, files, *, mode='w', special=()):
  """An archive of files by name, and of special members before them."""
  with tarfile.open(path, mode) as archive:
    for info in special:
      archive.addfile(info)
    for name, data in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))


def _special(name, kind, target=''):
  info = tarfile.TarInfo(name)
  info.type, info.linkname = kind, target
  return info


GOOD = {'00.jpg': _image(), '00.txt': b'a dog\n'}


@pytest.fixture
def shards(tmp_path):
  """Two shards, three pairs."""
  _write(
      tmp_path / 'b-1.tar',
      {
          'x/2.PNG': _image(9, 'PNG'),
          'x/2.json': json.dumps({'caption': 'two cats \u56fe'}).encode(),
          'x/2.cls': b'7',
      },
      special=[_special('x', tarfile.DIRTYPE)],
  )
  files = {
      '1.json': json.dumps({'url': 'x'}).encode(),
      '1.jpg': _image(5),
      '1.txt': '\ufeffa dog'.encode(),
  }
  _write(tmp_path / 'a-0.tar', GOOD | files)
  return tmp_path


def test_pairs_are_read_where_they_lie(shards):
  spec = {'source': 'webdataset', 'directory': str(shards)}
  source = table.open_source(spec, bad_records='raise')
  assert not is_detection(source)
  assert [source.image_id(n) for n in range(3)] == ['00', '1', 'x/2']
  captions = [source.text(n).caption for n in range(3)]
  assert captions == ['a dog', 'a dog', 'two cats \u56fe']
  record = source[2]
  assert record.image.shape == (30, 40, 3) and record.image.max() == 9
  assert record.index == 2 and not record.is_list
  assert not len(record.boxes) and record.text.phrases == ()
  assert source.truth(0).text == source.text(0)
  assert source.num_boxes().tolist() == [0, 0, 0]
  with pytest.raises(IndexError):
    source[3]


def test_a_source_survives_pickling(shards):
  source = WebdatasetSource(directory=shards)
  first = source[0]
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy[0].image, first.image)
  one = WebdatasetSource(directory=shards / 'b-1.tar')
  assert len(one) == 1


def test_parts_have_no_pair_in_common(shards):
  halves = [
      WebdatasetSource(directory=shards, selection=Selection(part=part))
      for part in ((0, 0.5), (0.5, 1))
  ]
  keys = [half.image_id(n) for half in halves for n in range(len(half))]
  assert sorted(keys) == ['00', '1', 'x/2']
  assert [half.report.kept['pairs'] for half in halves] == [(2, 2), (1, 1)]


@pytest.mark.parametrize(
    'kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
def test_what_leads_elsewhere_is_a_fault_and_never_followed(tmp_path, kind):
  (tmp_path / 'secret').write_text('a secret')
  link = _special('1.txt', kind, str(tmp_path / 'secret'))
  _write(tmp_path / 'a.tar', {'1.jpg': _image()} | GOOD, special=[link])
  report = WebdatasetSource(directory=tmp_path).report
  assert report.counts == {
      'link or other special file in an archive': 1,
      'record without caption': 1,
  }
  with pytest.raises(UserError, match="special file .* a.tar '1.txt'"):
    WebdatasetSource(directory=tmp_path, bad_records='raise')


def test_names_that_lead_elsewhere_are_names(tmp_path):
  files = {'../../1.jpg': _image(), '../../1.txt': b'a dog'}
  _write(tmp_path / 'a.tar', files)
  source = WebdatasetSource(directory=tmp_path)
  assert source.image_id(0) == '../../1' and len(source[0].image)


@pytest.mark.parametrize(
    'files, kind',
    [
        ({'2.jpg': b''}, 'record without caption'),
        ({'2.txt': b'a dog'}, 'record without image'),
        ({'2.jpg': b'', '2.txt': b'\xff'}, 'caption that cannot be read'),
        ({'2.jpg': b'', '2.txt': b' . '}, 'caption that cannot be read'),
        ({'2.jpg': b'', '2.txt': b'a' * 2**21}, 'caption that cannot be read'),
        ({'2.jpg': b'', '2.json': b'{}'}, 'caption that cannot be read'),
        ({'2.jpg': b'', '2.json': b'[1]'}, 'caption that cannot be read'),
        (
            {'2.jpg': b'', '2.json': b'{"caption": "a \\ud800"}'},
            'caption that cannot be read',
        ),
    ],
)
def test_a_fault_is_counted_or_refused(tmp_path, files, kind):
  _write(tmp_path / 'a.tar', GOOD | files)
  source = WebdatasetSource(directory=tmp_path)
  assert source.report.counts == {kind: 1} and len(source) == 1
  with pytest.raises(UserError, match=kind) as caught:
    WebdatasetSource(directory=tmp_path, bad_records='raise')
  assert '\n' not in str(caught.value)


def test_a_damaged_image_is_named_when_it_is_read(tmp_path):
  _write(tmp_path / 'a.tar', {'1.jpg': _image()[:99], '1.txt': b'a dog'})
  source = WebdatasetSource(directory=tmp_path)
  with pytest.raises(
      BadImage, match=r'a.tar, 1: .* cannot be read as an image'
  ):
    source[0]


def test_a_shard_that_is_cut_short_keeps_what_is_whole(tmp_path):
  _write(tmp_path / 'a.tar', GOOD | {'1.txt': b'a cat', '1.jpg': b'x' * 4096})
  data = (tmp_path / 'a.tar').read_bytes()
  (tmp_path / 'a.tar').write_bytes(data[: data.index(b'xxxx') + 1000])
  source = WebdatasetSource(directory=tmp_path)
  assert len(source) == 1
  assert 'file that ends behind its archive' in source.report.counts


@pytest.mark.parametrize('mode', ['w:gz', 'w:bz2'])
def test_compressed_shards_are_refused(tmp_path, mode):
  _write(tmp_path / 'a.tar', GOOD, mode=mode)
  with pytest.raises(UserError, match='no image with a caption .1 x archive t'):
    WebdatasetSource(directory=tmp_path)


def test_a_folder_without_shards_is_refused(tmp_path):
  for path in (tmp_path, tmp_path / 'gone'):
    with pytest.raises(UserError, match='holds no .tar file; give a folder'):
      WebdatasetSource(directory=path)
