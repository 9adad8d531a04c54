"""The embedded world: trains a small real GLIP on two CPU cores.

Reproduces nothing published; what it reaches stands in docs/results.md.

  python train.py --config=configs/shapes.py --workdir=runs/shapes

`--config=configs/shapes.py:long` trains for up to an hour on the same cores;
`:late` has no fusion of image and text (variant A's structure), to compare
with; `:unknown` also gives objects that the prompt does not name, and measures
that; `:fine` has 200 classes of size, texture, colour and shape, whose names
are drawn for each image, and with `chunks` of which each image gets as many as
fit, whether or not they are in it. Options are joined by commas.
"""

import ml_collections

from glip_jax import errors, run
from glip_jax.detectors.glip import config as glip

SIZE = 96  # Pixels.
OPTIONS = ('long', 'late', 'unknown', 'fine', 'chunks')
STEPS = {'default': 1800, 'long': 14000}
SCHEDULES = {
    'default': dict(name='cosine', warmup_steps=100),
    'long': dict(
        name='steps', warmup_steps=100, boundaries=(0.75, 0.9), decay=0.3
    ),
}
NAMES = dict(
    list=6.0, attributes=1.0, caption=2.0, relation=0.5, statements=1.5
)
# The long run goes on to relations, which a model learns from names by way of
# nearness, the first of the relations, and then from captions that turn on one.
NEARNESS = dict(
    list=1.0, attributes=0.2, caption=0.3, relation=1.0, statements=7.5
)
RELATIONS = dict(
    list=0.8, attributes=0.1, caption=0.1, relation=8.5, statements=0.5
)
UNTIL = dict(names=32_000, nearness=104_000)  # images seen


def get_config(options: str = '') -> ml_collections.ConfigDict:
  """The default run; `options` are some of OPTIONS, joined by commas."""
  chosen = set(filter(None, options.split(',')))
  if wrong := chosen - set(OPTIONS):
    raise errors.UserError(
        f'configs/shapes.py has no option {sorted(wrong)[0]!r}: use'
        f' {", ".join(OPTIONS)}, joined by commas'
    )
  if 'chunks' in chosen and 'fine' not in chosen:
    raise errors.UserError(
        'configs/shapes.py:chunks is of names that do not fit a prompt: give'
        ' fine,chunks'
    )
  length = 'long' if 'long' in chosen else 'default'
  config = run.config(model=glip.variant('shapes'))
  config.model.head.anchor_scale = 1.875  # strides: figures have 12 to 35 px
  config.model.head.fusion.on = 'late' not in chosen
  config.data.update(_data())
  if length == 'long':
    spec = config.data.train.to_dict()
    config.data.curriculum = dict(
        names=dict(spec, until=UNTIL['names']),
        nearness=run.source(
            **dict(spec, until=UNTIL['nearness'], prompts=NEARNESS)
        ),
    )
    config.data.train.prompts.update(RELATIONS)
  config.batch_size = 16
  config.steps = STEPS[length]
  config.optimizer.update(_optimizer(length))
  config.average.update(on=True, decay=0.99)
  config.eval_every = config.steps // (5 if length == 'long' else 2)
  config.checkpoint_every = 300
  config.evals = _evals()
  if 'fine' in chosen:
    _name_finely(config, chunks='chunks' in chosen)
  if 'unknown' in chosen:
    find_unknown(config)
  return config


def find_unknown(config: ml_collections.ConfigDict) -> None:
  """Has a model of any family give unknown objects, and measures that."""
  config.model.decode.unknown = True
  config.evals.unknown = run.evaluation(
      type='unknown',
      data=dict(
          source='shapes',
          split='val',
          image_size=SIZE,
          num_images=400,
          prompts=dict(partial=1.0),
          unnamed=True,
      ),
  )


def _name_finely(config: ml_collections.ConfigDict, *, chunks: bool) -> None:
  """Gives the world 200 classes, of which a prompt holds a dozen."""
  fine = dict(fine=True, prompts=dict(all=1.0))
  config.data.curriculum = {}
  config.data.train = run.source(
      source='shapes',
      split='train',
      num_images=1_000_000,
      image_size=SIZE,
      **fine,
  )
  config.data.draw_names.update(on=True, chunks=chunks)
  config.data.chunk_names = 20
  del config.evals.relations
  for spec in config.evals.values():
    spec.data.update(fine)


def _data() -> dict[str, object]:
  return dict(
      tokenizer='shapes',
      num_tokens=64,
      num_phrases=20,
      num_boxes=8,
      image_size=(SIZE, SIZE),
      resize=(),
      shuffle_names=False,
      num_workers=1,
      bad_records='skip',
      train=dict(
          source='shapes',
          split='train',
          num_images=1_000_000,
          image_size=SIZE,
          prompts=NAMES,
      ),
  )


def _optimizer(length: str) -> dict[str, object]:
  return dict(
      lr=1.5e-3,
      betas=(0.9, 0.98),
      weight_decay=0.01,
      clip_norm=1.0,
      schedule=SCHEDULES[length],
      decay_scales=(('bias|(^|[/_])scales?$', 0.0),),
  )


def _evals() -> dict[str, object]:
  """AP of seen and of held-out compositions, recall of relations."""
  world = dict(source='shapes', image_size=SIZE, num_images=400)
  relational = dict(world, split='val', num_images=1000)
  return dict(
      val=run.evaluation(data=dict(world, split='val')),
      heldout=run.evaluation(data=dict(world, split='heldout')),
      relations=run.evaluation(
          type='grounding',
          target='first',
          data=dict(relational, prompts=dict(relation=1.0)),
      ),
  )
