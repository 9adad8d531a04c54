"""Torch files put together by hand, good ones and others."""

import struct
import zipfile

KINDS = {
    'float32': 'FloatStorage',
    'float16': 'HalfStorage',
    'bfloat16': 'BFloat16Storage',
    'float64': 'DoubleStorage',
    'int64': 'LongStorage',
    'int32': 'IntStorage',
    'int16': 'ShortStorage',
    'int8': 'CharStorage',
    'uint8': 'ByteStorage',
    'bool': 'BoolStorage',
}


def text(value):
  """Instructions that put a text on the stack."""
  data = value.encode()
  return b'X' + struct.pack('<I', len(data)) + data


def number(value):
  """Of a whole number."""
  data = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
  return b'\x8a' + bytes([len(data)]) + data


def tuple_of(*parts):
  """Of a tuple, from the instructions of its parts."""
  return b'(' + b''.join(parts) + b't'


def name(module, attribute):
  """Of a global."""
  return f'c{module}\n{attribute}\n'.encode()


def call(module, attribute, *arguments):
  """Of the result of a global."""
  return name(module, attribute) + tuple_of(*arguments) + b'R'


def dict_of(entries):
  """Of a dict with texts as keys."""
  items = b''.join(text(key) + value for key, value in entries.items())
  return b'}(' + items + b'u'


def storage(key, kind, size):
  """Of a storage, by persistent id."""
  return (
      tuple_of(
          text('storage'),
          name('torch', kind),
          text(key),
          text('cpu'),
          number(size),
      )
      + b'Q'
  )


def tensor(stored, shape, strides, offset=0):
  """Of a tensor that looks into a storage."""
  return call(
      'torch._utils',
      '_rebuild_tensor_v2',
      stored,
      number(offset),
      tuple_of(*map(number, shape)),
      tuple_of(*map(number, strides)),
      b'\x89',
      call('collections', 'OrderedDict'),
  )


def whole(key, array):
  """Of a tensor that is all of its storage, rows first."""
  strides = [s // array.itemsize for s in array.copy('C').strides]
  stored = storage(key, KINDS[array.dtype.name], array.size)
  return tensor(stored, array.shape, strides)


def pickled(instructions):
  """The whole pickle of instructions that leave one value."""
  return b'\x80\x02' + instructions + b'.'


def write(path, pickle_, records=None, *, folder='archive', **more):
  """Writes an archive as torch lays it out.

  Args:
    path: where to.
    pickle_: bytes of data.pkl.
    records: bytes of each storage, by its key.
    folder: that all records lie in.
    **more: further records, by name.
  """
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
    archive.writestr(f'{folder}/data.pkl', pickle_)
    for key, data in more.items():
      archive.writestr(f'{folder}/{key}', data)
    for key, data in (records or {}).items():
      archive.writestr(f'{folder}/data/{key}', data)
    archive.writestr(f'{folder}/version', b'3\n')
  return path


def write_arrays(path, arrays, *, table='model', **wrapping):
  """Writes {table: arrays}, and whatever else, as instructions, beside it."""
  keys = {key: str(i) for i, key in enumerate(arrays)}
  model = dict_of({key: whole(keys[key], x) for key, x in arrays.items()})
  records = {keys[key]: x.tobytes() for key, x in arrays.items()}
  return write(path, pickled(dict_of({table: model} | wrapping)), records)
