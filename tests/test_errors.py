"""What a user can get wrong ends in one line: the thing, its value, a remedy.

All programs run on eight simulated devices.
"""

import json
import re

import grain
import jax.numpy as jnp
import programs
import pytest
import tiny_config
from PIL import Image

from glip_jax import configuring, fields, run
from glip_jax.training import checkpointing, state

TINY = '--config=tests/tiny_config.py'
NOBODY = '--config.data.tokenizer=nobody/none'
COCO = '--config=configs/finetune.py'
# By name: program, arguments, and the start and the end of the message. @ is a
# folder with a workdir, an image folder and annotation files.
MISTAKES = {
    'a mistyped key': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.optimizer.lrr=1'],
        '--config has no such field: lrr; ',
        r'Did you mean lr instead of lrr\? \(docs/config.md lists all\)',
    ),
    'an unknown variant': (
        'train.py',
        ['--config=configs/glip.py:X', '--workdir=@/w'],
        "variant 'X' is unknown",
        r"choose one of \['A', 'B', .*\]",
    ),
    'an unknown option of a config': (
        'train.py',
        ['--config=configs/shapes.py:lang', '--workdir=@/w'],
        "configs/shapes.py has no option 'lang'",
        'use long, late, unknown, fine, chunks, joined by commas',
    ),
    'no config': (
        'train.py',
        ['--workdir=@/w'],
        '--config and --workdir are needed',
        'for example --config=configs/shapes.py --workdir=runs/shapes',
    ),
    'no workdir': (
        'eval.py',
        [],
        '--workdir is missing',
        'give that of a training run',
    ),
    'a workdir without a checkpoint': (
        'eval.py',
        ['--workdir=@/images'],
        'no checkpoint in @/images',
        'give the --workdir of a training run, or the folder of one checkpoint',
    ),
    'a batch that the devices do not divide': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.batch_size=12'],
        'batch_size=12 is not divisible by the 8 devices of mesh axes',
        'choose 8 or 16',
    ),
    'an evaluation that the devices do not divide': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.evals.val.batch_size=3'],
        'config.evals.val.batch_size=3 is not divisible by the 8 devices',
        'choose 8',
    ),
    'a mesh of another size': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.mesh.fsdp=3'],
        'config.mesh data=-1, fsdp=3 does not fit 8 devices',
        'leave one axis at -1',
    ),
    'a prompt that is too long': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.data.num_tokens=8'],
        'the prompt of all 20 classes cannot be used',
        'num_tokens=8.* keep fewer by names= or exclude=',
    ),
    'a tokenizer of more words than the model has': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.model.language.vocab_size=99'],
        'more than model.language.vocab_size=99',
        'or raise vocab_size',
    ),
    'a prompt that is longer than the model reads': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.data.num_tokens=4096'],
        'data.num_tokens=4096 is over model.language.max_positions=',
        'lower the one or raise the other',
    ),
    'an unknown way to score phrases': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.model.decode.aggregate=median'],
        "config.model.decode.aggregate='median' must be one of",
        "'mean', 'max'",
    ),
    'no candidates': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.model.decode.pre_nms_top_k=-1'],
        'config.model.decode.pre_nms_top_k=-1 must be 1 or more',
        '',
    ),
    'a threshold that no score reaches': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.model.decode.score_threshold=2'],
        'config.model.decode.score_threshold=2.0 must be 0 or more',
        '1 at most',
    ),
    'dropout of everything': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.model.head.fusion.dropout_rate=1'],
        'config.model.head.fusion.dropout_rate=1.0 must be 0 or more',
        'less than 1',
    ),
    'a negative warm-up': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.optimizer.schedule.warmup_steps=-3'],
        'config.optimizer.schedule.warmup_steps=-3 must be 0 or more',
        '',
    ),
    'a word that is no flag': (
        'eval.py',
        ['--workdir=@/broken', '--per_class', 'False'],
        "'False' belongs to no flag",
        'write --name=value',
    ),
    'an evaluation of classes on captions': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.evals.val.data.split=train'],
        "evals.val: type='detection' needs a source with one list of classes",
        "use type='grounding', or data with classes",
    ),
    'a workdir that is no address of a bucket': (
        'train.py',
        [TINY, '--workdir=oci://bucket/run'],
        "workdir='oci://bucket/run' is no address of a bucket",
        'give gs://bucket/run, or a local folder',
    ),
    'a workdir that is a URL': (
        'eval.py',
        ['--workdir=https://x.y/run'],
        "--workdir='https://x.y/run' is a URL",
        'download it first, and give the path of what you have then',
    ),
    'annotations that are a URL': (
        'train.py',
        [COCO, '--workdir=@/w', 'https://x.y/a.json', '@/images'],
        "evals.val.data.annotations='https://x.y/a.json' is a URL",
        'download it first',
    ),
    'no steps': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.steps=0'],
        'config.steps=0 must be 1 or more',
        '',
    ),
    'a negative seed': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.seed=-1'],
        'config.seed=-1 must be 0 or more',
        'less than 4294967296',
    ),
    'a rate that is no number': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.optimizer.lr=nan'],
        'config.optimizer.lr=nan must be 0 or more, finite',
        '',
    ),
    'nothing to train': (
        'train.py',
        [TINY, '--workdir=@/w', "--config.optimizer.frozen=('.',)"],
        'leaves nothing to train',
        'remove a regex',
    ),
    'no room for boxes': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.data.num_boxes=0'],
        'config.data.num_boxes=0 must be 1 or more',
        '',
    ),
    'a tower without blocks': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.model.head.depth=0'],
        'model.head.depth=0 must be 1 or more',
        '',
    ),
    'a workdir that is a file': (
        'train.py',
        [TINY, '--workdir=@/good.json/w'],
        "workdir='@/good.json/w': @/good.json is no folder",
        'give another',
    ),
    'a workdir whose evaluations have no place': (
        'train.py',
        [TINY, '--workdir=@/placeless'],
        ': @/placeless/eval is no folder',
        'give another',
    ),
    'an evaluation that has no place': (
        'eval.py',
        [TINY, '--workdir=@/other', '--out=@/placeless'],
        "out='@/placeless/val': @/placeless/val is no folder",
        'give another',
    ),
    'metrics that have no place': (
        'eval.py',
        [TINY, '--workdir=@/other', '--out=@/images/..'],
        "out='@/images/../metrics.json' is a folder",
        'give the file to write',
    ),
    # A tokenizer that has to be looked for takes long: what costs nothing is
    # looked at before.
    'no annotations, and a tokenizer that is none': (
        'train.py',
        [COCO, '--workdir=@/w', NOBODY, '@/nowhere.json', '@/images'],
        "evals.val.data: annotations='@/nowhere.json' cannot be read",
        'give the path of a JSON file',
    ),
    'no folder, and a tokenizer that is none': (
        'train.py',
        [COCO, '--workdir=@/w', NOBODY, '@/good.json', '@/nowhere'],
        "evals.val.data: images='@/nowhere' is not a folder",
        'give the folder',
    ),
    'no images, and a tokenizer that is none': (
        'train.py',
        [
            TINY,
            '--workdir=@/w',
            NOBODY,
            '--config.data.train.source=mdetr',
            '--config.data.train.annotations=@/good.json',
            '--config.data.train.images=@/nowhere',
        ],
        "config.data.train: images='@/nowhere' is not a folder",
        'give the folder',
    ),
    'no data set of TFDS, and a tokenizer that is none': (
        'train.py',
        [
            TINY,
            '--workdir=@/w',
            NOBODY,
            '--config.evals.val.data.source=tfds',
            '--config.evals.val.data.directory=@/images',
        ],
        "evals.val.data: directory='@/images' cannot be opened",
        'give the folder of a version',
    ),
    'no weights to start from, and a tokenizer that is none': (
        'train.py',
        [TINY, '--workdir=@/w', NOBODY, '--config.init=@/gone.pth'],
        'weights @/gone.pth cannot be read',
        'give a whole file that exists',
    ),
    'no run to start from, and a tokenizer that is none': (
        'train.py',
        [TINY, '--workdir=@/w', NOBODY, '--config.init=@/images'],
        'no checkpoint in @/images',
        'give the --workdir of a training run',
    ),
    'no truth, and a tokenizer that is none': (
        'eval.py',
        [
            TINY,
            '--weights=glip_t',
            NOBODY,
            '--config.evals.val.data.source=coco',
            '--config.evals.val.data.annotations=@/nowhere.json',
            '--config.evals.val.data.images=@/images',
        ],
        "evals.val.data: annotations='@/nowhere.json' cannot be read",
        'give the path of a JSON file',
    ),
    'no weights, and a tokenizer that is none': (
        'eval.py',
        [TINY, '--weights=@/gone.pth', NOBODY],
        'weights @/gone.pth cannot be read',
        'give a whole file that exists',
    ),
    'a stored tokenizer that would have to be fetched': (
        'eval.py',
        ['--workdir=@/stored'],
        "tokenizer='nobody/none' of @/stored/config.json is not on this",
        'give --tokenizer=nobody/none to fetch it',
    ),
    'a tokenizer beside a config': (
        'eval.py',
        [TINY, '--workdir=@/stored', '--tokenizer=shapes'],
        '--tokenizer=shapes is of a --workdir without --config',
        'give --config.data.tokenizer=shapes',
    ),
    'a workdir that leads nowhere': (
        'eval.py',
        ['--workdir=@/nothing'],
        "workdir='@/nothing' is a link to nothing",
        'give another',
    ),
    'a new workdir that leads nowhere': (
        'train.py',
        [TINY, '--workdir=@/nothing/run'],
        "workdir='@/nothing/run': @/nothing is a link to nothing",
        'give another',
    ),
    'a field of a number': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.steps.more=3'],
        '--config has no such field: ',
        r'steps\.more \(docs/config.md lists all\)',
    ),
    'a config that is none': (
        'train.py',
        ['--config=tests/naive_boxes.py', '--workdir=@/w'],
        '--config is none: module',
        r'no attribute get_config; give a file such as those in configs/',
    ),
    'a config that is no Python': (
        'train.py',
        ['--config=README.md', '--workdir=@/w'],
        '--config is none: ',
        r'README.md.*; give a file such as those in configs/',
    ),
    'overrides without a config': (
        'eval.py',
        ['--workdir=@/other', '--config.evals.val.batch_size=1'],
        "Unknown command line flag 'config.evals.val.batch_size'",
        r'needs a --config that it changes, such as --config=configs/',
    ),
    'a workdir whose config is cut short': (
        'eval.py',
        ['--workdir=@/other'],
        '@/other/config.json is damaged',
        'give the --config that the run was trained with',
    ),
    'no annotations at all': (
        'train.py',
        [TINY, '--workdir=@/w', '--config.evals.val.data.source=coco'],
        "evals.val.data: source='coco' needs 'annotations'",
        'give annotations=...',
    ),
    'no annotations file': (
        'train.py',
        [COCO, '--workdir=@/w', '@/nowhere.json', '@/images'],
        "annotations='@/nowhere.json' cannot be read",
        'give the path of a JSON file',
    ),
    'no image folder': (
        'train.py',
        [COCO, '--workdir=@/w', '@/good.json', '@/nowhere'],
        "images='@/nowhere' is not a folder",
        "give the folder that the 'file_name' of each image is relative to",
    ),
    'an empty data set': (
        'train.py',
        [COCO, '--workdir=@/w', '@/empty.json', '@/images'],
        "@/empty.json has an empty list 'images'",
        'fill it in',
    ),
    'names without words': (
        'train.py',
        [COCO, '--workdir=@/w', '@/wordless.json', '@/images'],
        '@/wordless.json names no class',
        "fill in 'categories' with id and name",
    ),
    'a checkpoint of another model': (
        'train.py',
        [TINY, '--workdir=@/other', '--config.data.num_workers=0'],
        '@/other/checkpoints/2 is a checkpoint of another model or optimizer',
        'or start from it by --config.init',
    ),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('mistakes')
  (folder / 'images').mkdir()
  Image.new('RGB', (64, 64)).save(folder / 'images' / '1.png')
  _write_annotations(folder / 'good.json', images=[_IMAGE])
  _write_annotations(folder / 'empty.json', images=[])
  _write_annotations(folder / 'wordless.json', images=[_IMAGE], name='?!')
  _write_checkpoint(folder / 'other')
  config = tiny_config.get_config()
  config.data.tokenizer = 'nobody/none'
  configuring.save(fields.to_dict(run.read(config)), folder / 'stored')
  (folder / 'stored' / 'checkpoints').symlink_to('../other/checkpoints')
  (folder / 'nothing').symlink_to('gone')
  (folder / 'placeless').mkdir()
  (folder / 'placeless' / 'eval').touch()
  (folder / 'placeless' / 'val').touch()
  (folder / 'metrics.json').mkdir()
  return folder


_IMAGE = dict(id=1, file_name='1.png', width=64, height=64)


def _write_annotations(path, *, images, name='dog'):
  categories = [dict(id=1, name=name)]
  values = dict(images=images, annotations=[], categories=categories)
  path.write_text(json.dumps(values))


def _write_checkpoint(workdir):
  checkpointer = checkpointing.Checkpointer(workdir)
  now = state.TrainState(
      step=jnp.int32(2), params={'kernel': jnp.ones(3)}, opt_state=()
  )
  iterator = iter(grain.MapDataset.range(3).to_iter_dataset())
  checkpointer.save(2, now, iterator, meta={})
  checkpointer.close()
  (workdir / 'config.json').write_text('{"steps": 2, ')


@pytest.fixture(scope='module')
def outcomes(folder):
  """Status and standard error by the name of the mistake."""
  commands = [_command(*row[:2], folder) for row in MISTAKES.values()]
  (folder / 'commands.json').write_text(json.dumps(commands))
  programs.finish(
      programs.start(
          'tests/many_programs.py',
          folder / 'commands.json',
          folder / 'outcomes.json',
          cache=folder / 'xla',
          devices=8,
      )
  )
  results = json.loads((folder / 'outcomes.json').read_text())
  return dict(zip(MISTAKES, results, strict=True))


def _command(program, arguments, folder):
  arguments = [argument.replace('@', str(folder)) for argument in arguments]
  if COCO in arguments:
    *arguments, annotations, images = arguments
    arguments.append('--config.batch_size=8')
    arguments.append('--config.evals.val.batch_size=8')
    for place in ('data.train', 'evals.val.data'):
      arguments.append(f'--config.{place}.annotations={annotations}')
      arguments.append(f'--config.{place}.images={images}')
  return [program, *arguments]


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_is_one_line_and_a_status(mistake, outcomes, folder):
  status, message = outcomes[mistake]
  *_, start, end = MISTAKES[mistake]
  assert status == 1, message
  assert message.startswith('error: ')
  assert message.endswith('\n') and message.count('\n') == 1
  assert start.replace('@', str(folder)) in message
  assert re.search(end, message)


def test_a_mistake_leaves_no_workdir(outcomes, folder):
  assert outcomes
  assert not (folder / 'w').exists()
