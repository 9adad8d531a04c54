"""Torch files that try something are refused, and nothing of them runs."""

import collections
import copyreg
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch_zip as tz

from glip_jax import errors
from glip_jax.weights import torch_file, torch_pickle


class _Reduced:
  """Pickles as a call."""

  def __init__(self, function, *arguments):
    self.reduced = function, arguments

  def __reduce__(self):
    return self.reduced


def _runs(path):
  """A text of Python that leaves a file behind."""
  return f'open({os.fspath(path)!r}, "w").close()'


def _attacks(trace):
  """Name of the attack -> (pickle, what the message must name)."""
  code = _runs(trace)
  shell = f'touch {trace}'
  made = lambda *call: _Reduced(*call)
  text, name, call = tz.text, tz.name, tz.call
  evil = tz.tuple_of(text(code))
  attacks = {}
  for protocol in range(6):
    dump = lambda x, n=protocol: pickle.dumps(x, n)
    attacks |= {
        f'system {protocol}': (dump(made(os.system, shell)), 'system'),
        f'eval {protocol}': (dump(made(eval, code)), 'eval'),
        f'exec {protocol}': (dump(made(exec, code)), 'exec'),
        f'nested {protocol}': (
            dump(made(list, [made(eval, code)])),
            '',
        ),
        f'getattr {protocol}': (
            dump(made(getattr, made(__import__, 'os'), 'system')),
            '',
        ),
        f'numpy {protocol}': (dump(np.ones(3)), ''),
        f'a class {protocol}': (dump(pickle.PickleBuffer), ''),
    }
  at = text('builtins') + text('eval') + b'\x93'
  ordered = name('collections', 'OrderedDict')
  raw = {
      'stack global': (at + evil + b'R', 'builtins.eval'),
      'memo': (
          text('builtins')
          + b'q\x00'
          + text('eval')
          + b'q\x0100h\x00h\x01\x93'
          + evil
          + b'R',
          'POP',
      ),
      'memo without pop': (
          b']'
          + text('builtins')
          + b'q\x00a'
          + text('eval')
          + b'q\x01ah\x00h\x01\x93'
          + evil
          + b'R',
          'builtins.eval',
      ),
      'inst': (b'(' + text(code) + b'ibuiltins\neval\n', 'INST'),
      'obj': (b'(' + name('builtins', 'eval') + text(code) + b'o', 'eval'),
      'obj of an admitted name': (b'(' + ordered + b'o', 'OBJ'),
      'newobj': (ordered + b')\x81', 'NEWOBJ'),
      'newobj_ex': (ordered + b')}\x92', 'NEWOBJ_EX'),
      'build of a name': (ordered + b'}b', 'to set the state of a _Name'),
      'build with a setter': (
          b'}' + name('builtins', 'eval') + b'b',
          'builtins.eval',
      ),
      'build of a tensor': (
          tz.whole('0', np.ones(1, np.float32)) + b'}b',
          'to set the state of a View',
      ),
      'extension': (b'\x82\xf0' + evil + b'R', 'EXT1 240'),
      'extension 2': (b'\x83\xf0\x00', 'EXT2'),
      'extension 4': (b'\x84\xf0\x00\x00\x00', 'EXT4'),
      'persistent text': (b'Peval\n', 'PERSID'),
      'persistent id of something': (
          tz.tuple_of(text('module'), name('torch', 'FloatStorage')) + b'Q',
          'a persistent id that is no storage',
      ),
      'persistent id with a path': (
          tz.storage('../../etc/passwd', 'FloatStorage', 4),
          None,
      ),
      'attributes of an admitted name': (
          name('collections', 'OrderedDict.fromkeys.__self__'),
          'OrderedDict.fromkeys',
      ),
      'a dot between module and name': (
          name('torch', '_utils._rebuild_tensor_v2'),
          '_rebuild_tensor_v2',
      ),
      'a call of a text': (text('eval') + evil + b'R', 'to call str'),
      'a call of a storage': (
          name('torch', 'FloatStorage')
          + tz.tuple_of(tz.number(1 << 40))
          + b'R',
          'to call torch.FloatStorage',
      ),
      'torch itself': (call('torch.hub', 'load', text('x')), 'torch.hub.load'),
      'load from bytes': (
          call('torch.storage', '_load_from_bytes', text('x')),
          'torch.storage._load_from_bytes',
      ),
      'loads': (call('_pickle', 'loads', text(code)), '_pickle.loads'),
      'a module by mapping of old names': (
          call('__builtin__', 'eval', text(code)),
          '__builtin__.eval',
      ),
      'two lines': (b'cos\nsystem\n' + evil + b'R', 'os.system'),
      'read only buffer': (b'\x97\x98', 'NEXT_BUFFER'),
      'frozen set': (b'(K\x01\x91', 'FROZENSET'),
      'after the end': (b'N.' + call('builtins', 'eval', text(code)), 'end'),
      'nothing at all': (b'', ''),
      'a stack that is empty': (b'R', ''),
      'a mark without end': (b'(' * 5000, 'deep'),
      'lists in lists': (b']' * 5000 + b'a' * 4999, 'deep'),
      'a key without a value': (b'}(K\x01u', 'without a value'),
      'a tuple as a key': (
          b'}' + b'N' + b'\x85' * 500_000 + b'Ns',
          'key of type tuple',
      ),
      'a memo that is empty': (b'h\x09', ''),
      'a list as a dict': (b']K\x01K\x02s', 'no dict'),
      'a dict as a list': (b'}K\x01a', 'no list'),
      'a call with a list': (ordered + b']R', 'without a tuple'),
      'too many arguments': (ordered + tz.tuple_of(b'N') + b'R', ''),
      'a counter of a call': (
          call('collections', 'Counter', text('x')),
          'a counter',
      ),
      'a tensor of a list': (tz.tensor(b']', [1], [1]), 'without a storage'),
      'a tensor of axes': (
          tz.tensor(tz.storage('0', 'FloatStorage', 1), [1], [1, 1]),
          '1 axes and 2 strides',
      ),
      'a tensor before its storage': (
          tz.tensor(tz.storage('0', 'FloatStorage', 1), [1], [1], -1),
          'whole numbers',
      ),
      'a tensor backwards': (
          tz.tensor(tz.storage('0', 'FloatStorage', 1), [1], [-1]),
          'whole numbers',
      ),
      'a parameter of nothing': (
          call('torch._utils', '_rebuild_parameter', b'N', b'\x88', b'N'),
          'without a tensor',
      ),
      'a number without end': (b'\x8b\xff\xff\xff\x7f', ''),
      'a text without end': (b'X\xff\xff\xff\xff', ''),
  }
  for key, (instructions, named) in raw.items():
    attacks[key] = tz.pickled(instructions), named
  return attacks


NAMES = sorted(_attacks('x'))


@pytest.mark.parametrize('attack', NAMES)
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, attack):
  trace = tmp_path / 'trace'
  pickle_, named = _attacks(trace)[attack]
  path = tz.write(tmp_path / 'a.pth', pickle_, {'0': bytes(4)})
  with pytest.raises(errors.UserError) as caught:
    file = torch_file.TorchFile(path)
    assert named is None, 'only its storage is at fault'
    stored = file.value
    file.array(torch_pickle.View(stored, 0, (4,), (1,)))
  message = str(caught.value)
  assert 'a.pth' in message and '\n' not in message and len(message) < 500
  assert (named or '') in message
  assert not trace.exists()


def test_the_attacks_are_ones(tmp_path):
  # Python's own unpickler, on what this file made, would have run them.
  trace = tmp_path / 'trace'
  for attack in ('eval 2', 'stack global', 'inst', 'memo', 'two lines'):
    pickle_, _ = _attacks(trace)[attack]
    if attack != 'two lines':
      pickle.loads(pickle_)
      assert trace.exists(), attack
      trace.unlink()


def test_registered_extensions_are_not_looked_up(tmp_path):
  copyreg.add_extension('builtins', 'eval', 240)
  try:
    trace = tmp_path / 'trace'
    pickle_, _ = _attacks(trace)['extension']
    path = tz.write(tmp_path / 'a.pth', pickle_)
    with pytest.raises(errors.UserError, match='EXT1 240'):
      torch_file.TorchFile(path)
    assert not trace.exists()
  finally:
    copyreg.remove_extension('builtins', 'eval', 240)


def _good(path):
  arrays = {'x': np.arange(64, dtype=np.float32), 'y': np.ones((3, 5), '<f4')}
  return tz.write_arrays(path, arrays)


def _read_all(path):
  file = torch_file.TorchFile(path)
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


def test_an_order_of_bytes_that_is_none_is_refused(tmp_path):
  path = tz.write(tmp_path / 'a.pth', tz.pickled(b'}'), byteorder=b'middle')
  _refused(path, 'order of bytes')


def _views(value):
  """The tensors of a value, whatever its damage has made of it."""
  model = value.get('model') if isinstance(value, dict) else None
  parts = model.values() if isinstance(model, dict) else ()
  return [x for x in parts if isinstance(x, torch_pickle.View)]


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
      file = torch_file.TorchFile(path)
      for view in _views(file.value):
        np.array(file.array(view))
      outcomes['read'] += 1
    except errors.UserError:
      outcomes['refused'] += 1
  assert outcomes['refused'] > 300 and outcomes['read'] > 20, outcomes
