"""What an accelerator does with GLIP, in one command.

  python -m benchmarks.accelerator --out=FILE.json [--minutes=8]
      [--peak_tflops=989] [--sections=agreement,forms] [--dtypes=bfloat16]

Four sections: `agreement` of float32 answers with the CPU of the same process;
`forward` with decoding and `training` steps of GLIP-T at 800 x 1333, by type
and batch; `forms`, every form of `glip_jax.ops.forms` on and off. What is worth
most comes first: rows are measured until the time is up, and the file is
written after each. A row that runs out of memory or does not compile says so.
`--small` tries the command on any machine, CPUs too: tiny sizes, compiled in
a hurry, so that its milliseconds mean nothing.

`peak_tflops` is the device's for bfloat16, which float32's rows are compared
with too. `MB` is what a program needs with its arguments, `peak MB` the most
that the device held until then. JAX_COMPILATION_CACHE_DIR, JAX's own variable,
saves compiling in a second run.
"""

import functools
import os
from collections.abc import Callable, Iterator

import jax
import jaxlib
from absl import app, flags

from benchmarks import form_rows, ledger, model_rows

SECTIONS = ('agreement', 'forward', 'training', 'forms')
OUT = flags.DEFINE_string('out', '', 'JSON file to write.')
MINUTES = flags.DEFINE_float('minutes', 8.0, 'When to start no further row.')
PEAK = flags.DEFINE_float('peak_tflops', 0.0, 'Peak of the device; 0: unknown.')
SMALL = flags.DEFINE_bool('small', False, 'Tiny sizes.')
CHOSEN = flags.DEFINE_list('sections', list(SECTIONS), 'What to measure.')
DTYPES = flags.DEFINE_list('dtypes', ['bfloat16', 'float32'], 'Types.')
SECONDS = flags.DEFINE_float('seconds', 2.0, 'How long to run each row, about.')

Row = tuple[str, str, Callable[[], ledger.Figures]]


def _rows() -> Iterator[Row]:
  """(section, name, what measures it), what is worth most first."""
  first, *others = DTYPES.value
  yield from _agreement()
  yield from _models('forward', first, (1, 8))
  yield from _models('training', first, (2, 4))
  yield from _forms(first)
  for dtype in others:
    yield from _models('forward', dtype, (1, 8))
    if not SMALL.value:
      yield from _models('training', dtype, (2, 4))
  if SMALL.value:
    return
  for dtype in DTYPES.value:
    yield from _models('training', dtype, (8,))
    yield from _models('forward', dtype, (32,))
  yield from _other_keys(first)
  for dtype in others:
    yield from _forms(dtype)


def _agreement() -> Iterator[Row]:
  variant = model_rows.SMALLEST if SMALL.value else 'nanoB'
  tokens = 64 if SMALL.value else 256
  for precision in ('highest',) if SMALL.value else ('highest', 'default'):
    yield (
        'agreement',
        f'{variant}, float32, precision {precision}',
        functools.partial(model_rows.agreement, variant, tokens, precision),
    )


def _models(section: str, dtype: str, batches: tuple[int, ...]):
  model = _model()
  for num_images in (min(batches),) if SMALL.value else batches:
    yield (
        section,
        f'{section} {model.variant}, {dtype}, {num_images} a batch',
        functools.partial(getattr(model, section), dtype, num_images),
    )


def _other_keys(dtype: str) -> Iterator[Row]:
  """Dropout draws a number for every logit of the fusion: what keys cost."""
  model = _model()
  yield (
      'training',
      f'training {model.variant}, {dtype}, 4 a batch, rbg keys',
      functools.partial(model.training, dtype, 4, 'rbg'),
  )


def _forms(dtype: str) -> Iterator[Row]:
  sizes = form_rows.SMALL if SMALL.value else form_rows.Sizes()
  for name, measure in form_rows.rows(sizes, dtype, SECONDS.value):
    yield 'forms', name, measure


def _model() -> model_rows.Model:
  common = dict(peak_tflops=PEAK.value, seconds=SECONDS.value)
  if SMALL.value:
    return model_rows.Model(model_rows.SMALLEST, (64, 96), 64, **common)
  return model_rows.Model('T', (800, 1333), 256, **common)


def main(_):
  if SMALL.value:
    # Half the time to compile; what is compiled is slow.
    os.environ['XLA_FLAGS'] = ' '.join([
        os.environ.get('XLA_FLAGS', ''),
        '--xla_backend_optimization_level=0',
        '--xla_llvm_disable_expensive_passes=true',
    ])
  device = jax.devices()[0]
  about = {
      'jax': jax.__version__,
      'jaxlib': jaxlib.__version__,
      'platform': device.platform,
      'device': device.device_kind,
      'small': SMALL.value,
      'peak_tflops': PEAK.value,
  }
  print(about)
  table = ledger.Ledger(OUT.value, MINUTES.value, about)
  for section, name, measure in _rows():
    if section in CHOSEN.value:
      table.row(name, measure)


flags.register_validator(
    'sections',
    lambda chosen: set(chosen) <= set(SECTIONS),
    message=f'--sections must be among {SECTIONS}',
)

if __name__ == '__main__':
  app.run(main)
