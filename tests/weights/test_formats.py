"""Tables of weights are found in the files that hold them, and written."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch_zip as tz

from glip_jax import errors
from glip_jax.weights import formats, torch_values

STATE = {
    'a.weight': np.arange(6, dtype=np.float32).reshape(2, 3),
    'b.bias': np.array(3.5, np.float32),
}


def _equal(got, want):
  assert got.keys() == want.keys()
  for key, array in want.items():
    assert got[key].dtype == array.dtype and got[key].shape == array.shape, key
    np.testing.assert_array_equal(got[key], array, err_msg=key)


def _torch_file(path, **tables):
  """A file of tables; a table of arrays, or instructions as they are."""
  value, records = {}, {}
  for table, arrays in tables.items():
    if isinstance(arrays, bytes):
      value[table] = arrays
      continue
    entries = {}
    for key, array in arrays.items():
      record = str(len(records))
      records[record] = array.tobytes()
      entries[key] = tz.whole(record, array)
    value[table] = tz.dict_of(entries)
  return tz.write(path, tz.pickled(tz.dict_of(value)), records)


@pytest.mark.parametrize('table', ['model', 'state_dict'])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_the_table_is_found_in_its_wrapping(tmp_path, table, prefix):
  wrapped = {prefix + key: x for key, x in STATE.items()}
  path = _torch_file(
      tmp_path / 'a.pth', **{table: wrapped, 'iteration': tz.number(3)}
  )
  _equal(formats.read(path), STATE)


def test_a_bare_table_is_read(tmp_path):
  records = {str(i): x.tobytes() for i, x in enumerate(STATE.values())}
  value = {key: tz.whole(str(i), x) for i, (key, x) in enumerate(STATE.items())}
  path = tz.write(tmp_path / 'a.bin', tz.pickled(tz.dict_of(value)), records)
  _equal(formats.read(path), STATE)


def test_a_prefix_that_not_all_keys_have_stays(tmp_path):
  mixed = {'module.x': np.ones(1, '<f4'), 'y': np.ones(1, '<f4')}
  path = _torch_file(tmp_path / 'a.pth', model=mixed)
  assert set(formats.read(path)) == {'module.x', 'y'}


def test_the_average_is_read_on_request(tmp_path):
  average = {key: x + 1 for key, x in STATE.items()}
  path = _torch_file(tmp_path / 'a.pth', model=STATE, model_ema=average)
  _equal(formats.read(path), STATE)
  _equal(formats.read(path, ema=True), average)
  plain = _torch_file(tmp_path / 'b.pth', model=STATE)
  with pytest.raises(errors.UserError, match='no average of the weights'):
    formats.read(plain, ema=True)
  formats.write(tmp_path / 'c.safetensors', STATE)
  with pytest.raises(errors.UserError, match='no average'):
    formats.read(tmp_path / 'c.safetensors', ema=True)


@pytest.mark.parametrize(
    'tables, match',
    [
        ({'epoch': tz.number(3)}, 'epoch are no arrays'),
        ({'model': tz.number(3)}, 'no table of weights'),
        ({'model': b'}'}, 'no table of weights'),
        ({'model': b'}K\x01K\x02s'}, r'\? are no arrays'),
        (
            {'model': {'x': np.ones(1, '<f4')}, 'state': tz.name('os', 'x')},
            'os',
        ),
    ],
)
def test_files_without_weights_are_refused(tmp_path, tables, match):
  with pytest.raises(errors.UserError, match=match):
    formats.read(_torch_file(tmp_path / 'a.pth', **tables))


def test_a_file_that_holds_no_dict_is_refused(tmp_path):
  path = tz.write(tmp_path / 'a.pth', tz.pickled(b']'))
  with pytest.raises(errors.UserError, match='holds a list'):
    formats.read(path)


def test_a_damaged_safetensors_file_and_none_are_refused(tmp_path):
  path = tmp_path / 'a.safetensors'
  for content in (None, b'', b'\xff' * 100):
    if content is not None:
      path.write_bytes(content)
    with pytest.raises(errors.UserError, match='cannot be read'):
      formats.read(path)


def test_a_safetensors_file_of_other_types_or_cut_off_is_refused(tmp_path):
  path = tmp_path / 'a.safetensors'
  safetensors.numpy.save_file({'x': np.ones(2, np.uint16)}, path)
  with pytest.raises(errors.UserError, match="'U16'.*give a whole"):
    formats.read(path)
  formats.write(path, STATE)
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(errors.UserError, match='cannot be read'):
    formats.read(path)


@pytest.mark.parametrize('ending', ['.safetensors', '.pth'])
def test_arrays_are_views_of_the_file(tmp_path, ending):
  path = tmp_path / f'a{ending}'
  formats.write(path, STATE)
  array = formats.read(path)['a.weight']
  assert not array.flags.writeable and not array.flags.owndata


def _of_all_types():
  rows = np.arange(12).reshape(3, 4)
  state = {kind: rows.astype(kind) for kind in ('f4', 'f2', 'f8', 'i8', 'i4')}
  return state | {
      'bfloat16': rows.astype(ml_dtypes.bfloat16),
      'bool': rows > 3,
      'columns': rows.astype('f4').T,
      'cube': np.arange(24, dtype='f4').reshape(2, 3, 4).transpose(1, 2, 0),
      'number': np.array(2, 'f4'),
      'none': np.zeros((0, 3), 'f4'),
  }


@pytest.mark.parametrize('ending', formats.ENDINGS)
def test_what_is_written_is_read_again(tmp_path, ending):
  path = tmp_path / 'made' / f'a{ending}'
  formats.write(path, _of_all_types())
  _equal(formats.read(path), _of_all_types())
  assert list(path.parent.iterdir()) == [path]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
  path = tmp_path / 'a.pth'
  with pytest.raises(TypeError, match='complex64'):
    formats.write(path, {'x': np.ones(1, np.complex64)})
  assert not list(tmp_path.iterdir())
  with pytest.raises(errors.UserError, match='let it end in one of'):
    formats.write(tmp_path / 'a.npz', STATE)


def test_the_writer_and_the_reader_know_the_same_types():
  assert set(tz.KINDS.values()) == set(torch_values.KINDS)


def test_torch_reads_what_is_written(tmp_path):
  torch = pytest.importorskip('torch')
  state = _of_all_types()
  formats.write(tmp_path / 'a.pth', state)
  read = torch.load(tmp_path / 'a.pth', weights_only=True)
  assert list(read) == ['model'] and list(read['model']) == list(state)
  for key, want in state.items():
    got = read['model'][key]
    if key == 'bfloat16':
      assert got.dtype == torch.bfloat16
      got, want = got.float(), want.astype('f4')
    assert got.numpy().dtype == want.dtype and got.is_contiguous(), key
    np.testing.assert_array_equal(got.numpy(), want, err_msg=key)
