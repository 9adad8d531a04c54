"""Torch files are read as torch reads them, without torch."""

import collections

import ml_dtypes
import numpy as np
import pytest
import torch_zip as tz

from glip_jax import errors
from glip_jax.weights import torch_reader

TYPES = sorted(set(tz.KINDS) - {'bool'})


def _arrays(file):
  return {key: file.array(view) for key, view in file.value['model'].items()}


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('order', ['<', '>'])
def test_every_type_in_either_order_of_bytes(tmp_path, dtype, order):
  kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
  array = np.array([[1, -2, 3], [0, 5, 127]]).astype(kind)
  raw = array.view(f'u{kind.itemsize}').astype(f'{order}u{kind.itemsize}')
  path = tz.write(
      tmp_path / 'a.pth',
      tz.pickled(
          tz.dict_of({'model': tz.dict_of({'x': tz.whole('0', array)})})
      ),
      {'0': raw.tobytes()},
      byteorder=b'big' if order == '>' else b'little',
  )
  read = _arrays(torch_reader.TorchFile(path))['x']
  assert read.dtype == kind
  np.testing.assert_array_equal(read, array)


def test_booleans_are_true_whatever_their_byte(tmp_path):
  array = np.array([0, 1, 2, 255], np.uint8)
  stored = tz.storage('0', 'BoolStorage', 4)
  path = tz.write(
      tmp_path / 'a.pth',
      tz.pickled(tz.tensor(stored, [4], [1])),
      {'0': array.tobytes()},
  )
  file = torch_reader.TorchFile(path)
  assert file.array(file.value).tolist() == [False, True, True, True]


def test_tensors_may_share_a_storage_transpose_it_and_skip_some(tmp_path):
  stored = tz.storage('7', 'FloatStorage', 12)
  model = {
      'rows': tz.tensor(stored, [3, 4], [4, 1]),
      'columns': tz.tensor(stored, [4, 3], [1, 4]),
      'every other of the last': tz.tensor(stored, [2], [2], offset=8),
      'one number': tz.tensor(stored, [], [], offset=11),
      'expanded': tz.tensor(stored, [2, 3], [0, 1], offset=9),
      'none': tz.tensor(stored, [0, 4], [4, 1]),
  }
  path = tz.write(
      tmp_path / 'a.pth',
      tz.pickled(tz.dict_of({'model': tz.dict_of(model)})),
      {'7': np.arange(12, dtype=np.float32).tobytes()},
  )
  read = _arrays(torch_reader.TorchFile(path))
  rows = np.arange(12).reshape(3, 4)
  np.testing.assert_array_equal(read['rows'], rows)
  np.testing.assert_array_equal(read['columns'], rows.T)
  assert read['every other of the last'].tolist() == [8, 10]
  assert read['one number'].shape == () and read['one number'] == 11
  assert read['expanded'].tolist() == [[9, 10, 11]] * 2
  assert read['none'].shape == (0, 4)


def test_arrays_are_views_of_the_file_that_cannot_be_written(tmp_path):
  array = np.ones(4, np.float32)
  path = tz.write_arrays(tmp_path / 'a.pth', {'x': array})
  read = _arrays(torch_reader.TorchFile(path))['x']
  assert not read.flags.owndata and not read.flags.writeable
  # The map outlives the object that made it.
  assert read.sum() == 4


def test_what_else_a_training_run_saves_does_not_matter(tmp_path):
  damaged = tz.whole('not there', np.ones(9, np.float32))
  path = tz.write_arrays(
      tmp_path / 'a.pth',
      {'x': np.ones(2, np.float32)},
      optimizer=tz.dict_of({'state': b'}' + tz.number(0) + damaged + b's'}),
      scheduler=tz.dict_of({
          'milestones': tz.call('collections', 'Counter', b'}K\x07K\x01s'),
          'factor': b'G?\xb9\x99\x99\x99\x99\x99\x9a',
          'last': b'N',
          'on': b'\x88',
      }),
      iteration=tz.number(300_000),
  )
  file = torch_reader.TorchFile(path)
  assert file.value['iteration'] == 300_000
  assert file.value['scheduler'] == {
      'milestones': {7: 1},
      'factor': 0.1,
      'last': None,
      'on': True,
  }
  np.testing.assert_array_equal(_arrays(file)['x'], [1, 1])
  with pytest.raises(errors.UserError, match='no .data/not there. of 36 bytes'):
    file.array(file.value['optimizer']['state'][0])


def test_parameters_and_the_attributes_of_a_state_are_read(tmp_path):
  weight = tz.call(
      'torch._utils',
      '_rebuild_parameter',
      tz.whole('0', np.ones(3, np.float32)),
      b'\x88',
      tz.call('collections', 'OrderedDict'),
  )
  state = tz.call('collections', 'OrderedDict') + tz.text('w') + weight + b's'
  state += tz.dict_of({'_metadata': tz.dict_of({})}) + b'b'
  path = tz.write(
      tmp_path / 'a.pth', tz.pickled(state), {'0': np.ones(3, '<f4').tobytes()}
  )
  file = torch_reader.TorchFile(path)
  assert list(file.value) == ['w']
  np.testing.assert_array_equal(file.array(file.value['w']), [1, 1, 1])


@pytest.mark.parametrize(
    'size, shape, strides, offset',
    [
        (4, [5], [1], 0),
        (4, [4], [1], 1),
        (4, [2, 2], [3, 1], 0),
        (4, [1 << 40], [0], 0),
        (4, [1 << 62, 1 << 62], [0, 0], 0),
        (4, [1], [1], 1 << 62),
        (5, [1], [1], 0),
        (3, [1], [1], 0),
        (1 << 60, [1], [1], 0),
        (4, [1] * 40, [1] * 40, 0),
    ],
)
def test_tensors_beyond_their_storage_are_refused(
    tmp_path, size, shape, strides, offset
):
  stored = tz.storage('0', 'FloatStorage', size)
  path = tz.write(
      tmp_path / 'a.pth',
      tz.pickled(tz.tensor(stored, shape, strides, offset)),
      {'0': bytes(16)},
  )
  file = torch_reader.TorchFile(path)
  with pytest.raises(errors.UserError, match=r'a\.pth has (no|a tensor)'):
    file.array(file.value)


def test_a_wrong_checksum_is_noticed(tmp_path):
  path = tz.write_arrays(tmp_path / 'a.pth', {'x': np.full(4, 7, np.float32)})
  data = path.read_bytes()
  part = np.full(4, 7, np.float32).tobytes()
  path.write_bytes(data.replace(part, np.full(4, 8, np.float32).tobytes()))
  file = torch_reader.TorchFile(path)
  with pytest.raises(errors.UserError, match='checksum of data/0 is wrong'):
    _arrays(file)


def test_older_formats_are_named_with_the_remedy(tmp_path):
  path = tmp_path / 'old.pth'
  path.write_bytes(b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.' + bytes(99))
  with pytest.raises(errors.UserError, match=r'before torch 1\.6: save it'):
    torch_reader.TorchFile(path)
  path.write_bytes(bytes(257) + b'ustar' + bytes(250))
  with pytest.raises(errors.UserError, match=r'before torch 1\.6'):
    torch_reader.TorchFile(path)


@pytest.mark.parametrize('content', [b'', b'version https://git-lfs', None])
def test_other_files_and_none_are_refused(tmp_path, content):
  path = tmp_path / 'a.pth'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(errors.UserError, match=r'a\.pth'):
    torch_reader.TorchFile(path)


def test_files_that_torch_wrote_are_read_as_torch_reads_them(tmp_path):
  torch = pytest.importorskip('torch')
  torch.manual_seed(0)
  base = torch.randn(6, 8)
  layer = torch.nn.Linear(3, 2)
  model = {
      'rows': base[1::2],
      'columns': base.t()[2:],
      'half': base.half(),
      'bfloat': base.bfloat16(),
      'double': base.double(),
      'expanded': torch.arange(5).expand(1, -1),
      'long': torch.arange(3),
      'bool': base > 0,
      'number': torch.tensor(3.0),
      'parameter': layer.weight,
      'none': torch.zeros(0, 3),
  }
  saved = {
      'model': collections.OrderedDict(model),
      'layer': layer.state_dict(),
      'optimizer': torch.optim.AdamW(layer.parameters()).state_dict(),
      'iteration': 7,
  }
  path = tmp_path / 'a.pth'
  torch.save(saved, path)
  file = torch_reader.TorchFile(path)
  read = _arrays(file)
  assert read.keys() == model.keys()
  for key, want in model.items():
    want = want.detach()
    if key == 'bfloat':
      assert read[key].dtype == ml_dtypes.bfloat16
      want, read[key] = want.float(), read[key].astype(np.float32)
    assert read[key].dtype == want.numpy().dtype, key
    np.testing.assert_array_equal(read[key], want.numpy(), err_msg=key)
  assert file.value['iteration'] == 7
