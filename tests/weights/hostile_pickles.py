"""Pickles that try something, as tables: what is tried, and what to say of it.

Where one could run, it would leave a file behind: the trace.
"""

import os
import pickle

import numpy as np
import torch_zip as tz


class _Reduced:
  """Pickles as a call."""

  def __init__(self, function, *arguments):
    self.reduced = function, arguments

  def __reduce__(self):
    return self.reduced


def _runs(path):
  """A text of Python that leaves a file behind."""
  return f'open({os.fspath(path)!r}, "w").close()'


def _by_python(trace):
  """What Python's own pickler makes, in all its protocols."""
  code = _runs(trace)
  shell = f'touch {trace}'
  made = lambda *call: _Reduced(*call)
  attacks = {}
  for protocol in range(6):
    dump = lambda x, n=protocol: pickle.dumps(x, n)
    attacks |= {
        f'system {protocol}': (dump(made(os.system, shell)), 'system'),
        f'eval {protocol}': (dump(made(eval, code)), 'eval'),
        f'exec {protocol}': (dump(made(exec, code)), 'exec'),
        f'nested {protocol}': (
            dump(made(list, [made(eval, code)])),
            'builtin',
        ),
        f'getattr {protocol}': (
            dump(made(getattr, made(__import__, 'os'), 'system')),
            'getattr',
        ),
        f'numpy {protocol}': (dump(np.ones(3)), 'numpy'),
        f'a class {protocol}': (dump(pickle.PickleBuffer), 'PickleBuffer'),
    }
  return attacks


def _by_other_instructions(trace):
  """Instructions that torch does not write."""
  code = _runs(trace)
  evil = tz.tuple_of(tz.text(code))
  text, name = tz.text, tz.name
  ordered = tz.name('collections', 'OrderedDict')
  return {
      'memo': (
          text('builtins')
          + b'q\x00'
          + text('eval')
          + b'q\x0100h\x00h\x01\x93'
          + evil
          + b'R',
          'POP',
      ),
      'inst': (b'(' + text(code) + b'ibuiltins\neval\n', 'INST'),
      'obj': (b'(' + name('builtins', 'eval') + text(code) + b'o', 'eval'),
      'obj of an admitted name': (b'(' + ordered + b'o', 'OBJ'),
      'newobj': (ordered + b')\x81', 'NEWOBJ'),
      'newobj_ex': (ordered + b')}\x92', 'NEWOBJ_EX'),
      'build of a name': (ordered + b'}b', 'to set the state of a Name'),
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
      'read only buffer': (b'\x97\x98', 'NEXT_BUFFER'),
      'frozen set': (b'(K\x01\x91', 'FROZENSET'),
  }


def _by_names(trace):
  """Names that no tensor needs, by the instructions that torch does write."""
  code = _runs(trace)
  evil = tz.tuple_of(tz.text(code))
  text, name, call = tz.text, tz.name, tz.call
  at = text('builtins') + text('eval') + b'\x93'
  return {
      'stack global': (at + evil + b'R', 'builtins.eval'),
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
      'after the end': (b'N.' + call('builtins', 'eval', text(code)), 'end'),
  }


def _damage(_):
  """What leads nowhere, or without end."""
  return {
      'nothing at all': (b'', 'damaged pickle'),
      'a stack that is empty': (b'R', 'damaged pickle'),
      'a mark without end': (b'(' * 5000, 'deep'),
      'lists in lists': (b']' * 5000 + b'a' * 4999, 'deep'),
      'a key without a value': (b'}(K\x01u', 'without a value'),
      'a tuple as a key': (
          b'}' + b'N' + b'\x85' * 60_000 + b'Ns',
          'key of type tuple',
      ),
      'a memo that is empty': (b'h\x09', 'damaged pickle'),
      'a list as a dict': (b']K\x01K\x02s', 'no dict'),
      'a dict as a list': (b'}K\x01a', 'no list'),
      'a number without end': (b'\x8b\xff\xff\xff\x7f', 'damaged pickle'),
      'a text without end': (b'X\xff\xff\xff\xff', 'damaged pickle'),
  }


def _wrong_arguments(_):
  """Admitted names with what does not belong to them."""
  text, call = tz.text, tz.call
  ordered = tz.name('collections', 'OrderedDict')
  return {
      'a call with a list': (ordered + b']R', 'without a tuple'),
      'too many arguments': (
          ordered + tz.tuple_of(b'N') + b'R',
          'damaged pickle',
      ),
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
  }


def attacks(trace):
  """Name of the attack -> (pickle, what the message must name)."""
  found = _by_python(trace)
  for made in (
      _by_other_instructions(trace),
      _by_names(trace),
      _damage(trace),
      _wrong_arguments(trace),
  ):
    for key, (instructions, named) in made.items():
      found[key] = tz.pickled(instructions), named
  return found
