"""Torch files that try something are refused, and nothing of them runs."""

import collections
import copyreg
import pickle
import struct
import tracemalloc
import zipfile

import hostile_pickles
import numpy as np
import pytest
import torch_zip as tz

from glip_jax import errors
from glip_jax.weights import formats, torch_reader, torch_values

NAMES = sorted(hostile_pickles.attacks('x'))


@pytest.mark.parametrize('attack', NAMES)
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, attack):
  trace = tmp_path / 'trace'
  pickle_, named = hostile_pickles.attacks(trace)[attack]
  path = tz.write(tmp_path / 'a.pth', pickle_, {'0': bytes(4)})
  with pytest.raises(errors.UserError) as caught:
    file = torch_reader.TorchFile(path)
    assert named is None, 'only its storage is at fault'
    stored = file.value
    file.array(torch_values.View(stored, 0, (4,), (1,)))
  message = str(caught.value)
  assert 'a.pth' in message and '\n' not in message and len(message) < 500
  assert (named or '') in message
  assert not trace.exists()


def test_the_attacks_are_ones(tmp_path):
  # Python's own unpickler, on what this file made, would have run them.
  trace = tmp_path / 'trace'
  for attack in ('eval 2', 'stack global', 'inst', 'memo', 'two lines'):
    pickle_, _ = hostile_pickles.attacks(trace)[attack]
    if attack != 'two lines':
      pickle.loads(pickle_)
      assert trace.exists(), attack
      trace.unlink()


def test_registered_extensions_are_not_looked_up(tmp_path):
  copyreg.add_extension('builtins', 'eval', 240)
  try:
    # Python's unpickler hands out what is cached without asking anybody.
    assert pickle.loads(tz.pickled(b'\x82\xf0')) is eval
    trace = tmp_path / 'trace'
    pickle_, _ = hostile_pickles.attacks(trace)['extension']
    path = tz.write(tmp_path / 'a.pth', pickle_)
    with pytest.raises(errors.UserError, match='EXT1 240'):
      torch_reader.TorchFile(path)
    assert not trace.exists()
  finally:
    copyreg.remove_extension('builtins', 'eval', 240)


def _good(path):
  arrays = {'x': np.arange(64, dtype=np.float32), 'y': np.ones((3, 5), '<f4')}
  return tz.write_arrays(path, arrays)


def _read_all(path):
  file = torch_reader.TorchFile(path)
  return {key: file.array(x) for key, x in file.value['model'].items()}


def _refused(path, match):
  with pytest.raises(errors.UserError, match=match):
    _read_all(path)


@pytest.mark.parametrize('share', [0.01, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_archive_is_refused(tmp_path, share):
  path = _good(tmp_path / 'a.pth')
  data = path.read_bytes()
  path.write_bytes(data[: int(len(data) * share)])
  _refused(path, r'a\.pth')


def test_bytes_before_an_archive_are_refused(tmp_path):
  path = _good(tmp_path / 'a.pth')
  path.write_bytes(b'PK\x03\x04' + bytes(60) + path.read_bytes())
  _refused(path, 'out of order')


def test_a_compressed_archive_and_a_bomb_are_refused(tmp_path):
  path = tmp_path / 'a.pth'
  stored = tz.storage('0', 'FloatStorage', 1 << 26)
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    value = tz.pickled(tz.tensor(stored, [1 << 26], [1]))
    archive.writestr('a/data.pkl', value, zipfile.ZIP_STORED)
    archive.writestr('a/data/0', bytes(1 << 28))
  assert path.stat().st_size < 1 << 20
  _refused(path, "a compressed or encrypted record 'a/data/0'")


def test_a_bomb_of_declared_sizes_is_refused(tmp_path):
  path = _good(tmp_path / 'a.pth')
  data = bytearray(path.read_bytes())
  entry = data.index(b'PK\x01\x02')
  entry = data.index(b'PK\x01\x02', entry + 1)
  # Both sizes of the second record in the directory: all of the memory.
  data[entry + 20 : entry + 28] = struct.pack('<II', 0xFFFFFFF0, 0xFFFFFFF0)
  path.write_bytes(data)
  _refused(path, 'beyond its end')


def _directory(data):
  """Where each entry of the directory starts, and where the last one ends."""
  starts = []
  position = data.index(b'PK\x01\x02')
  while data[position : position + 4] == b'PK\x01\x02':
    starts.append(position)
    name, extra, comment = struct.unpack_from('<HHH', data, position + 28)
    position += 46 + name + extra + comment
  return starts, position


def test_records_that_change_places_in_the_directory_are_refused(tmp_path):
  path = _good(tmp_path / 'a.pth')
  data = path.read_bytes()
  starts, end = _directory(data)
  a, b, c = starts[1], starts[2], starts[3]
  path.write_bytes(data[:a] + data[b:c] + data[a:b] + data[c:])
  assert len(path.read_bytes()) == len(data)
  _refused(path, 'out of order')


def test_records_that_overlap_or_exchange_their_bytes_are_refused(tmp_path):
  path = _good(tmp_path / 'a.pth')
  data = bytearray(path.read_bytes())
  starts, _ = _directory(data)
  one, two = starts[1] + 42, starts[2] + 42
  overlapping = data.copy()
  overlapping[two : two + 4] = data[one : one + 4]
  path.write_bytes(overlapping)
  _refused(path, 'out of order')
  exchanged = data.copy()
  exchanged[one : one + 4] = data[two : two + 4]
  exchanged[two : two + 4] = data[one : one + 4]
  path.write_bytes(exchanged)
  _refused(path, 'out of order')


def test_a_record_with_two_names_is_refused(tmp_path):
  path = _good(tmp_path / 'a.pth')
  data = path.read_bytes()
  path.write_bytes(data.replace(b'archive/data/1', b'archive/data/9', 1))
  _refused(path, 'two names')


@pytest.mark.parametrize(
    'odd',
    [
        '../data/0',
        '/etc/passwd',
        'archive/../../x',
        'archive\\data',
        'C:/x',
        'archive//x',
        'other/data/0',
        'data.pkl',
        'archive/data.pkl',
        'archive/./data.pkl',
    ],
)
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_records_with_odd_names_are_refused(tmp_path, odd):
  path = _good(tmp_path / 'a.pth')
  with zipfile.ZipFile(path, 'a') as archive:
    archive.writestr(odd, b'x')
  _refused(path, 'a record')


def test_an_archive_without_a_pickle_is_refused(tmp_path):
  path = tmp_path / 'a.pth'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('a/data/0', bytes(4))
  _refused(path, r'has no data\.pkl')


def test_a_pickle_of_absurd_size_is_not_read(tmp_path):
  path = tz.write(tmp_path / 'a.pth', tz.pickled(b'N' * (17 << 20)))
  _refused(path, 'more than')


# A file of few tensors needs few of them.
@pytest.mark.parametrize(
    'num_records, instructions, room',
    [(0, 66_536, 1 << 24), (1000, 566_536, 1 << 27), (3000, 1 << 20, 1 << 28)],
)
def test_a_pickle_of_too_many_instructions_is_not_followed(
    tmp_path, num_records, instructions, room
):
  pickle_ = tz.pickled(b'(' + b']' * (4 << 20) + b't')[: 1 << 22]
  records = {str(i): b'' for i in range(num_records)}
  path = tz.write(tmp_path / 'a.pth', pickle_, records)
  tracemalloc.start()
  try:
    message = f'more than {instructions} instructions'
    with pytest.raises(errors.UserError, match=message):
      torch_reader.TorchFile(path)
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert most < room


def test_a_checkpoint_of_training_has_instructions_to_spare(tmp_path):
  # As many tensors as a large model has, two more of an optimizer for each, and
  # a group of an optimizer's settings too.
  arrays = {f'm{i}': np.zeros(1, np.float32) for i in range(2000)}
  whole = lambda i: tz.whole(str(i % 2000), arrays['m0'])
  state = {
      f's{i}': tz.dict_of({'exp_avg': whole(i), 'exp_avg_sq': whole(i)})
      for i in range(2000)
  }
  group = {f'setting{i}': tz.tuple_of(b'N', b'K\x01') for i in range(15)}
  groups = {f'g{i}': tz.dict_of(group) for i in range(2000)}
  path = tz.write_arrays(
      tmp_path / 'a.pth',
      arrays,
      optimizer=tz.dict_of({'s': tz.dict_of(state), 'g': tz.dict_of(groups)}),
  )
  assert len(_read_all(path)) == 2000


@pytest.mark.parametrize(
    'kind, order', [('BoolStorage', b'little'), ('FloatStorage', b'big')]
)
def test_tensors_of_one_storage_share_what_is_made_of_it(tmp_path, kind, order):
  size = (1 << 20) // torch_values.KINDS[kind].itemsize
  stored = tz.storage('0', kind, size)
  view = tz.tensor(stored, [size], [1])
  table = tz.dict_of({f'x{i}': view for i in range(100)})
  path = tz.write(
      tmp_path / 'a.pth',
      tz.pickled(table),
      {'0': bytes(1 << 20)},
      byteorder=order,
  )
  tracemalloc.start()
  try:
    assert len(formats.read(path)) == 100
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert most < 6 << 20


def test_a_far_place_in_the_memo_takes_no_room(tmp_path):
  path = tz.write(tmp_path / 'a.pth', tz.pickled(b'Nr\xff\xff\xff\xff'))
  tracemalloc.start()
  assert torch_reader.TorchFile(path).value is None
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert most < 1 << 20


def test_an_order_of_bytes_that_is_none_is_refused(tmp_path):
  path = tz.write(tmp_path / 'a.pth', tz.pickled(b'}'), byteorder=b'middle')
  _refused(path, 'order of bytes')


def _views(value):
  """The tensors of a value, whatever its damage has made of it."""
  model = value.get('model') if isinstance(value, dict) else None
  parts = model.values() if isinstance(model, dict) else ()
  return [x for x in parts if isinstance(x, torch_values.View)]


def test_random_damage_is_refused_or_read_but_never_worse(tmp_path):
  data = _good(tmp_path / 'a.pth').read_bytes()
  random = np.random.default_rng(0)
  path = tmp_path / 'b.pth'
  outcomes = collections.Counter()
  for _ in range(600):
    damaged = bytearray(data)
    for _ in range(random.integers(1, 4)):
      damaged[random.integers(len(data))] = random.integers(256)
    path.write_bytes(damaged)
    try:
      file = torch_reader.TorchFile(path)
      for view in _views(file.value):
        np.array(file.array(view))
      outcomes['read'] += 1
    except errors.UserError:
      outcomes['refused'] += 1
  assert outcomes['refused'] > 300 and outcomes['read'] > 20, outcomes
