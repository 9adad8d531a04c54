"""Every stage of the forward pass beside the reference and our own float64."""

import dataclasses
import functools
import re

import jax
import numpy as np

from glip_jax.detectors.glip import stages as stages_lib
from parity import reference

FAMILIES = ('swin', 'fpn', 'bert', 'fusion', 'text', 'dyconv', 'head', 'logits')
# What logits may differ by: about ten times the noise of float32, which a
# deep tower with fusion amplifies.
LOGITS = {name: 2e-4 for name in reference.SMALL}
LOGITS |= {'A': 1e-4, 'B': 3e-3, 'C': 3e-3, 'L': 3e-3}
# All other stages, relative to the stage's largest value.
RELATIVE = 1e-4
_channels_first = lambda x: x.transpose(0, 3, 1, 2)
_same = lambda x: x
# What it holds of padding tokens means nothing.
_OF_TOKENS = re.compile(r'tower/\d+/(fusion/)?text|head/projected_text')
# Stage -> (family, name in the reference, change of layout); {f}, {t} and {d}
# are the entries of fusion, text layer and DyConv in the official tower.
_STAGES = (
    (r'backbone/stage(\d)', 'swin', 'swin_stage{0}', _channels_first),
    (r'neck/p(\d)', 'fpn', 'fpn_p{0}', _channels_first),
    (r'language/embeddings', 'bert', 'bert_embeddings_out', _same),
    (r'language/hidden', 'bert', 'bert_hidden', _same),
    (
        r'tower/\d+/fusion/p(\d)',
        'fusion',
        'tower{f:02}_fuse_p{0}',
        _channels_first,
    ),
    (r'tower/\d+/fusion/text', 'fusion', 'tower{f:02}_fuse_text', _same),
    (r'tower/\d+/text', 'text', 'tower{t:02}_lang_text', _same),
    (
        r'tower/\d+/dyconv/p(\d)',
        'dyconv',
        'tower{d:02}_dyconv_p{0}',
        _channels_first,
    ),
    (r'head/projected_text', 'head', 'projected_text', _same),
    (r'head/deltas', 'head', 'bbox_reg', _same),
    (r'outputs/quality', 'head', 'centerness', lambda x: x[..., None]),
    (
        r'outputs/logits',
        'logits',
        'dot_product_logits_valid',
        lambda x: x[..., :32],
    ),
)


@dataclasses.dataclass(frozen=True)
class Row:
  """One stage of one configuration.

  Attributes:
    stage: its name, by `detectors.glip.stages`.
    family: one of `FAMILIES`.
    error: largest absolute difference from the reference.
    size: largest absolute value in the reference.
    bound: what the error may be.
    floor: largest absolute difference of our float32 from our own float64, or
      nan.
    theirs: the same of the reference, which is float32 too.
    noise: what who made the reference measured of `theirs`, or nan.
  """

  stage: str
  family: str
  error: float
  size: float
  bound: float
  floor: float = float('nan')
  theirs: float = float('nan')
  noise: float = float('nan')

  @property
  def ok(self) -> bool:
    return self.error <= self.bound


def rows(name: str, prefix: str = 'det', *, floor: bool = False) -> list[Row]:
  """The stages of a model that the reference has, in order of computation.

  Args:
    name: of the model.
    prefix: which stored prompt; all stages are stored of 'det' alone.
    floor: True runs the model in float64 too.
  """
  stored = reference.stored(name)
  _, stages = reference.run(name, prefix)
  exact = double(name, prefix) if floor else {}
  tokens = np.asarray(reference.inputs(name, prefix)[3])[..., None]
  found = []
  for stage, value in stages.items():
    match = _official(stage, fused=stored.fused)
    if match is None:
      continue
    family, key, layout = match
    if prefix != 'det' and f'{prefix}_{key}' not in stored:
      continue
    own = tokens if _OF_TOKENS.fullmatch(stage) else True
    precise = layout(exact[stage]) if floor else None
    found.append(
        measured(
            stored,
            f'{prefix}_{key}',
            layout(value),
            precise,
            own=own,
            stage=stage,
            family=family,
            bound=LOGITS[name] if family == 'logits' else None,
        )
    )
  return found


def measured(
    stored: reference.Stored,
    key: str,
    value: np.ndarray,
    exact: np.ndarray | None,
    *,
    own: np.ndarray | bool = True,
    bound: float | None = None,
    **said,
) -> Row:
  """Compares one stage.

  Args:
    stored: arrays of the reference.
    key: of the stage in them.
    value: ours, in the reference's layout.
    exact: the same in float64, or None.
    own: where it means something, of a shape that broadcasts.
    bound: what the error may be; None is `RELATIVE`.
    **said: the row's other attributes.
  """
  error, size = stored.error(key, value, own)
  if exact is not None:
    apart = np.abs(np.where(own, value - exact, 0))
    said |= dict(floor=float(apart.max()))
    said |= dict(theirs=stored.error(key, exact, own)[0])
  bound = RELATIVE * size if bound is None else bound
  return Row(error=error, size=size, bound=bound, **said)


@functools.cache
def double(name: str, prefix: str) -> dict[str, np.ndarray]:
  """The stages of a model, computed in float64."""
  params = reference.in_float64(reference.model(name)[1])
  return run_double(name, prefix, params)


def run_double(name: str, prefix: str, params) -> dict[str, np.ndarray]:
  """The same with other parameters."""
  inputs = reference.in_float64(reference.inputs(name, prefix))
  with jax.enable_x64(True):
    return jax.tree.map(np.asarray, _precise(name)(params, *inputs)[1])


@functools.cache
def _precise(name: str):
  """Compiled: params, inputs -> (outputs, stages) in float64."""
  model = reference.precise(name).model
  return jax.jit(functools.partial(stages_lib.run, model))


def forget() -> None:
  """Drops what is kept of float64."""
  double.cache_clear()
  _precise.cache_clear()


def worst(found: list[Row]) -> list[Row]:
  """Of each family the row that is nearest to its bound."""
  chosen = {}
  for row in found:
    best = chosen.setdefault(row.family, row)
    if row.error / row.bound > best.error / best.bound:
      chosen[row.family] = row
  return list(chosen.values())


def _official(stage: str, *, fused: bool):
  """(family, name in the reference, change of layout) of a stage, or None."""
  for pattern, family, name, layout in _STAGES:
    if match := re.fullmatch(pattern, stage):
      block = re.match(r'tower/(\d+)/', stage)
      i = int(block[1]) if block else 0
      place = dict(f=3 * i, t=3 * i + 1, d=3 * i + 2 if fused else i)
      return family, name.format(*match.groups(), **place), layout
  return None
