"""The forms of one computation that a platform may want or not, in one place.

Each form gives the numbers of its plain counterpart, to rounding, at another
price. `Forms` lists them. A form for CPU alone is on where a program is
compiled for a CPU and off elsewhere, whatever machine compiles it; the others
are on everywhere. `use` switches one on or off for experiments:

  with forms.use(token_lengths='off'):
    program = jax.jit(predict).lower(params, batch).compile()

Choices are read where a function is traced and by nothing later, so a function
that `jax.jit` has traced keeps the forms that it was traced with.

What has no switch suits every platform: GELU by the error function
(`activations`), upsampling by two products (`resample`), taps that are read one
after the other (`deform_taps`), projections absorbed into the text side
(`bi_attention`), suppression by repeated application of its rule (`nms`).
Recomputing blocks and unrolling their loop are fields of a config (`remat`,
`unroll`).
"""

import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

from glip_jax import fields

VALUES = ('auto', 'on', 'off')


def _form(doc: str, *, cpu_alone: bool) -> Any:
  """A form, which the platform may decide on or which is on everywhere."""
  metadata = {
      'doc': doc,
      'range': fields.Range(choices=VALUES),
      'cpu_alone': cpu_alone,
  }
  return dataclasses.field(default='auto', metadata=metadata)


_cpu_alone = functools.partial(_form, cpu_alone=True)
_everywhere = functools.partial(_form, cpu_alone=False)


@dataclasses.dataclass(frozen=True)
class Forms:
  """Every form, each 'auto', 'on' or 'off': `config.forms`.

  The first three are for CPU alone: they save a CPU's cache, a loop that its
  compiler makes slow, and arithmetic at the price of branches that the data
  decide, which a GPU waits for. The others are for everybody.
  """

  deform_blocks: str = _cpu_alone(
      'CPU: deformable convolution goes in blocks that stay in the cache'
  )
  sums_by_product: str = _cpu_alone(
      'CPU: its gradient sums over channels by a product'
  )
  token_lengths: str = _cpu_alone(
      'CPU: tokens that are padding in all prompts are left out, by a branch'
  )
  deform_tables: str = _everywhere(
      'each large map is read from a table of its own; off: one for all'
  )
  flat_dense: str = _everywhere('dense layers make leading axes one')
  fusion_chunks: str = _everywhere(
      'fusion goes in chunks of positions: less memory, slower on a GPU'
  )
  fusion_remat: str = _everywhere(
      'the backward pass computes a chunk again, for memory'
  )
  heads_first: str = _everywhere('window attention puts heads before tokens')
  nms_blocks: str = _everywhere('suppression goes in blocks, and may end early')

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      if value not in VALUES:
        raise ValueError(f'form {name}={value!r} is not one of {VALUES}')


_FIELDS = {field.name: field for field in dataclasses.fields(Forms)}
CPU_ALONE = tuple(n for n, f in _FIELDS.items() if f.metadata['cpu_alone'])
NAMES = tuple(_FIELDS)

_AUTO = Forms()
_current = contextvars.ContextVar('forms', default=_AUTO)


@contextlib.contextmanager
def use(**choices: str) -> Iterator[Forms]:
  """Changes forms for what is traced inside.

  Args:
    **choices: fields of `Forms`; the others, and those that are 'auto', stay
      as they are outside.

  Yields:
    All forms as they are inside.

  Raises:
    ValueError: there is no such form, or its value is not one of `VALUES`.
  """
  if unknown := set(choices) - set(NAMES):
    raise ValueError(f'no forms {sorted(unknown)}: choose among {NAMES}')
  given = {name: value for name, value in choices.items() if value != 'auto'}
  token = _current.set(dataclasses.replace(_current.get(), **given))
  try:
    yield _current.get()
  finally:
    _current.reset(token)


def is_on(name: str) -> bool:
  """Whether a form is on that does not depend on the platform.

  Args:
    name: a field of `Forms`, none of `CPU_ALONE`.

  Raises:
    ValueError: the platform decides on this form; `select` asks it.
  """
  if name in CPU_ALONE:
    raise ValueError(f'form {name!r} depends on the platform: use `select`')
  return getattr(_current.get(), name) != 'off'


def select(
    name: str,
    on: Callable[..., Any],
    off: Callable[..., Any],
    *operands: Any,
) -> Any:
  """Applies a form for CPU alone, or its plain counterpart.

  Args:
    name: one of `CPU_ALONE`.
    on: the form.
    off: its plain counterpart, whose results have the same shapes and types.
    *operands: trees of arrays that both take.

  Returns:
    The result of one of them. A lowered program holds that one only.
  """
  if name not in CPU_ALONE:
    raise ValueError(f'form {name!r} is none of {CPU_ALONE}: use `is_on`')
  value = getattr(_current.get(), name)
  if value == 'auto':
    return jax.lax.platform_dependent(*operands, cpu=on, default=off)
  return (on if value == 'on' else off)(*operands)
