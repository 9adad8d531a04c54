"""Every stage of Grounding DINO beside the reference and our own float64.

Queries are made of the positions that the reference stored, so that stages
behind the choice are compared row by row even where two positions change rank;
`ranks` compares the choice itself. Stages have the reference's names.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax.detectors.grounding_dino import pyramid as pyramid_lib
from glip_jax.ops import text_blocks
from parity import dino, noise, stages
from parity.stages import Row

# Runs of the reference -> what they are of.
RUNS = {
    'det': 'both images, one prompt',
    'mix': 'two prompts',
    'train': 'the training batch',
    'alone0': 'the first image alone',
    'alone1': 'the second image alone',
}
# The reference's suggestions, absolute: of logits, boxes in [0, 1], all other
# stages, and of the mean over the logits of the last layer.
LOGITS = {name: 1e-3 for name in dino.SMALL}
LOGITS |= {'gd_full': 2e-2, 'mm_full': 5e-3}
BOXES = {name: 1e-4 for name in dino.SMALL} | {name: 1e-3 for name in dino.FULL}
FEATURES, MEAN = 1e-4, 1e-4
_BOUNDS = {
    'logits': LOGITS,
    'logits of layers': LOGITS,
    'boxes': BOXES,
    'boxes of layers': BOXES,
}
_DECODER = {
    'query_pos': 'query_pos',
    'queries_norm_out': 'after_self_attn',
    'text_norm_out': 'after_text_attn',
    'image_norm_out': 'after_deform_attn',
    'hidden': 'hidden',
}
# Stage of 'det' -> its noise in the reference's summary, which it measured
# between its float32 and its float64; {} is the last layer of the encoder.
_NOISE = {
    'swin_stage4': 'swin_stage4',
    'enc{}_vision': 'enc_vision',
    'enc{}_text': 'enc_text',
    'enc_max_logit': 'enc_max_logit',
    'logits': 'logits',
    'pred_boxes': 'boxes',
    'logits, mean': 'logits_mean',
    'pred_boxes, mean': 'boxes_mean',
}


class Stage(NamedTuple):
  """What is compared.

  Attributes:
    key: its name in the reference, without that of the run.
    family: what it is a stage of.
    value: ours, in the reference's layout.
    own: where it means something, of a shape that broadcasts.
  """

  key: str
  family: str
  value: np.ndarray
  own: np.ndarray | bool = True


def rows(name: str, run: str, *, floor: bool = False) -> list[Row]:
  """The stages of a run that the reference has, in order of computation.

  Args:
    name: of the model.
    run: one of `RUNS`.
    floor: True runs the model in float64 too.
  """
  stored = dino.stored(name)
  exact = _values(of_run(name, run, double=True)) if floor else {}
  said, found = _said(name) if run == 'det' else {}, []
  for stage in of_run(name, run):
    if f'{run}_{stage.key}' not in stored:
      continue
    precise = exact.get(stage.key)
    more = [_row(stored, run, stage, precise, said)]
    if stage.key in ('logits', 'pred_boxes'):
      more.append(_mean(stored, run, stage, precise, said))
    found += more
  return found


def moved(name: str, run: str) -> Iterator[dict[str, float]]:
  """How far float64's stages change when parameters change by rounding.

  Yields:
    After each of the draws of `noise`: the largest change of each stage so
    far.
  """
  exact, found = _values(of_run(name, run, double=True)), {}
  for params in draws(name):
    state = _run(name, _batch_of(run), double=True, params=params)
    for key, _, value, own in of_run(name, run, state=state):
      apart = np.abs(np.where(own, value - exact[key], 0.0)).max()
      found[key] = max(found.get(key, 0.0), float(apart))
    yield dict(found)


def draws(name: str) -> Iterator[Any]:
  """The parameters moved as far as rounding moves the boxes."""
  return noise.moved(dino.stored(name).params, _scale(name))


def ranks(name: str, run: str) -> list[tuple[str, bool, str]]:
  """Our own choice of positions beside the reference's.

  Two positions may change rank where their logits are as near as features may
  differ, and in small models, where none are, none may.

  Returns:
    (what, whether it is as it may be, in words) for each image.
  """
  stored, found = dino.stored(name), []
  best = _values(of_run(name, run))['enc_max_logit']
  for i, (row, want) in enumerate(
      zip(best, stored[f'{run}_topk_indices'], strict=True)
  ):
    mine = np.argsort(-row, kind='stable')[: len(want)]
    swapped = int(np.sum(mine != want))
    gap = float(np.abs(row[mine] - row[want]).max())
    same = set(mine.tolist()) == set(want.tolist())
    ok = same and (gap <= FEATURES if name in dino.FULL else not swapped)
    image = int(run[-1]) if run.startswith('alone') else i
    words = (
        f'{"same" if same else "OTHER"} {len(want)} positions, {swapped} at'
        f' another rank, logits {gap:.1e} apart'
    )
    found.append((f'{run}: own choice, image {image}', ok, words))
  return found


def of_run(
    name: str, run: str, *, double: bool = False, state: Any = None
) -> Iterator[Stage]:
  """The stages of a run.

  Args:
    name: of the model.
    run: one of `RUNS`.
    double: True computes in float64.
    state: (outputs, stages) that were computed already.
  """
  stored, alone = dino.stored(name), run.startswith('alone')
  _, sown = state or outputs_of(name, _batch_of(run), double=double)
  layout = _Layout(
      stored.sizes[int(run[-1])] if alone else stored.whole,
      stored.canvas,
      slice(int(run[-1]), int(run[-1]) + 1) if alone else slice(None),
  )
  batch = stored.batch('det' if alone else run, alone=alone)
  yield from _image(layout, sown)
  yield from _geometry(layout, stored, batch)
  yield from _text(layout, stored, batch, sown)
  yield from _encoder(layout, stored, batch, sown)
  yield from _decoder(layout, stored, batch, sown)


def outputs_of(name: str, run: str, *, double: bool = False) -> Any:
  """(outputs, stages) of one of `RUNS`, or of both images alone: 'alone'."""
  return _kept(name, run, double)


@functools.cache
def _kept(name: str, run: str, double: bool) -> Any:
  return _run(name, run, double=double)


def forget() -> None:
  """Drops what was computed."""
  _kept.cache_clear()


def _run(name: str, run: str, *, double: bool, params: Any = None) -> Any:
  """(outputs, stages), on the host."""
  stored, alone = dino.stored(name), run == 'alone'
  batch = stored.batch('det' if alone else run, alone=alone)
  apply = stored.run_precise if double else stored.run
  found = apply(batch.replace(targets=None), stored.chosen(run), params)
  return jax.tree.map(np.asarray, found)


def _batch_of(run: str) -> str:
  return 'alone' if run.startswith('alone') else run


def _values(found: Iterator[Stage]) -> dict[str, np.ndarray]:
  return {stage.key: stage.value for stage in found}


def _row(stored, run, stage, exact, said) -> Row:
  """One stage beside the reference's."""
  bound = _BOUNDS.get(stage.family, {}).get(stored.name, FEATURES)
  return stages.measured(
      stored,
      f'{run}_{stage.key}',
      stage.value,
      exact,
      own=stage.own,
      stage=stage.key,
      family=stage.family,
      bound=bound,
      noise=said.get(stage.key, np.nan),
  )


def _mean(stored, run, stage, exact, said) -> Row:
  """The mean errors of a stage; that of boxes may be what that of logits is."""
  key, what = f'{run}_{stage.key}', f'{stage.key}, mean'
  mean = lambda value: float(stored.apart(key, value, stage.own)[0].mean())
  floor = theirs = np.nan
  if exact is not None:
    own = np.broadcast_to(stage.own, exact.shape)
    floor = float(np.abs(stage.value - exact)[own].mean())
    theirs = mean(exact)
  size = stored.error(key, stage.value, stage.own)[1]
  values = mean(stage.value), size, MEAN, floor, theirs
  return Row(what, what, *values, said.get(what, np.nan))


def _said(name: str) -> dict[str, float]:
  """The noise of stages that the reference measured."""
  stored = dino.stored(name)
  last = stored.recipe.config.encoder.depth - 1
  measured = stored.summary['noise_floor_fp32_vs_fp64']
  return {stage.format(last): measured[key] for stage, key in _NOISE.items()}


class _Layout(NamedTuple):
  """Where a run stands in our batch.

  Attributes:
    extent: (h, w) of its canvas.
    canvas: (h, w) of ours.
    rows: its images.
  """

  extent: tuple[int, int]
  canvas: tuple[int, int]
  rows: slice

  def grid(self, x, stride: int) -> np.ndarray:
    """A map, channels first."""
    return dino.grid(x[self.rows], self.extent, stride)

  def flat(self, x) -> np.ndarray:
    """Positions of all levels."""
    return dino.cut(x[self.rows], self.extent, self.canvas)

  def geometry(self, batch) -> pyramid_lib.Geometry:
    """Of our maps."""
    sizes = [
        tuple(-(-side // stride) for side in self.canvas)
        for stride in dino.STRIDES
    ]
    return pyramid_lib.Geometry.of(
        sizes, dino.STRIDES[0], batch.size, batch.extent
    )

  def inside(self, batch) -> np.ndarray:
    """True at positions inside of an image."""
    geometry = self.geometry(batch)
    inside = np.asarray(geometry.within(geometry.valid))
    return self.flat(inside[..., None])


def _image(layout, sown) -> Iterator[Stage]:
  """The image before it has seen any text."""
  backbone = sown['backbone']
  patches = layout.grid(backbone['patch_embed']['__call__'][0], 4)
  patches = patches.reshape(*patches.shape[:2], -1).transpose(0, 2, 1)
  yield Stage('swin_patch_embed', 'swin', patches)
  for i, stride in zip((2, 3, 4), dino.STRIDES, strict=False):
    value = layout.grid(backbone[f'stage{i + 1}'][0], stride)
    yield Stage(f'swin_stage{i}', 'swin', value)
  for i, stride in enumerate(dino.STRIDES):
    value = layout.grid(sown['pyramid'][f'level{i}'][0], stride)
    yield Stage(f'input_proj{i}', 'pyramid', value)


def _geometry(layout, stored, batch) -> Iterator[Stage]:
  """Where positions lie; the model does not sow it, but computes it so."""
  geometry, inside = layout.geometry(batch), layout.inside(batch)
  valid, cells = (
      np.stack([np.asarray(x)[:, ::-1] for x in pairs], axis=1)
      for pairs in (geometry.valid, geometry.cells)
  )
  ratios = valid / cells
  sizes = [[-(-side // s) for side in layout.extent] for s in dino.STRIDES]
  points = np.asarray(geometry.centres)[:, :, None] * ratios[:, None]
  count = points.shape[1]
  points = layout.flat(points.reshape(len(points), count, -1))
  waves = pyramid_lib.waves(geometry, stored.recipe.config.width)
  levels = np.asarray(stored.params['level_embedding'])[geometry.level]
  waves = layout.flat(np.asarray(pyramid_lib.flat(waves)) + levels)
  family = 'geometry'
  yield Stage('enc_vision_pad_mask', family, 1.0 - inside[..., 0])
  yield Stage('spatial_shapes', family, np.array(sizes))
  yield Stage('valid_ratios', family, ratios[layout.rows])
  yield Stage('enc_in_pos', family, waves, inside)
  points = points.reshape(*points.shape[:2], -1, 2)
  yield Stage('enc_reference_points', family, points)


def _text(layout, stored, batch, sown) -> Iterator[Stage]:
  """The text before it has seen any image."""
  prompt, pick = batch.prompt, lambda x: np.asarray(x)[layout.rows]
  blocks = text_blocks.text_blocks(
      prompt.ids, prompt.mask, stored.recipe.config.delimiters
  )
  attend = pick(text_blocks.attend(blocks)).astype(float)
  yield Stage('text_self_attention_mask', 'text', attend)
  places = pick(text_blocks.positions(blocks)).astype(float)
  yield Stage('text_position_ids', 'text', places)
  for key, value in (
      ('bert_embeddings', sown['language']['embeddings']),
      ('bert_last_hidden', sown['language']['hidden']),
      ('text_features', sown['text_features']),
  ):
    yield Stage(key, 'text', pick(value[0]))


def _encoder(layout, stored, batch, sown) -> Iterator[Stage]:
  """Both, and the choice of positions."""
  pick, flat = lambda x: np.asarray(x)[layout.rows], layout.flat
  layers, inside = sown['encoder']['layers'], layout.inside(batch)
  for i in range(stored.recipe.config.encoder.depth):
    for key, ours, change, own in (
        ('fusion_vision', 'fusion_image', flat, inside),
        ('fusion_text', 'fusion_text', pick, True),
        ('text', 'text_layer', pick, True),
        ('vision', 'image_layer', flat, inside),
    ):
      yield Stage(f'enc{i}_{key}', 'encoder', change(layers[ours][0][i]), own)
  # Positions without a box have one feature in common; the reference's too.
  yield Stage('object_query', 'choice', flat(sown['object_query'][0]))
  mask = pick(batch.prompt.mask)[:, None]
  logits = flat(sown['class_logits'][0])
  yield Stage('enc_class_logits', 'choice', logits, mask)
  best = flat(sown['best'][0][..., None])[..., 0]
  yield Stage('enc_max_logit', 'choice', best)
  yield Stage('init_reference_points', 'choice', pick(sown['references'][0]))


def _decoder(layout, stored, batch, sown) -> Iterator[Stage]:
  """The queries after every layer."""
  pick, decoder = lambda x: np.asarray(x)[layout.rows], sown['decoder']
  mask = pick(batch.prompt.mask)[:, None]
  logits, boxes = sown['logits'][0], decoder['refined'][0]
  for i in range(stored.recipe.config.decoder.depth):
    at = lambda key, i=i: pick(decoder['layers'][key][0][i])
    for ours, theirs in _DECODER.items():
      yield Stage(f'dec{i}_{theirs}', 'decoder', at(ours))
    yield Stage(f'dec{i}_normed', 'decoder', pick(decoder['normed'][0][i]))
    family = 'boxes of layers'
    yield Stage(f'dec{i}_reference_points', family, at('reference'))
    yield Stage(f'dec{i}_pred_boxes', family, pick(boxes[i]))
    yield Stage(f'dec{i}_logits', 'logits of layers', pick(logits[i]), mask)
  features = jnp.asarray(sown['text_features'][0])
  own = dino.encoder_logits(stored.params, features, batch.prompt.mask)
  yield Stage('enc_loss_logits', 'logits of layers', pick(own), mask)
  yield Stage('logits', 'logits', pick(logits[-1]), mask)
  yield Stage('pred_boxes', 'boxes', pick(boxes[-1]))


@functools.cache
def _scale(name: str) -> float:
  """Half units of the last place that move the boxes as rounding does."""
  stored, key = dino.stored(name), 'pred_boxes'
  params = noise.nudged(stored.params, 1.0, 0)
  state = _run(name, 'det', double=True, params=params)
  exact = _values(of_run(name, 'det', double=True))[key]
  change = _values(of_run(name, 'det', state=state))[key] - exact
  theirs = stored.compare(f'det_{key}', exact)
  return max(1.0, theirs / float(np.abs(change).max()))
