"""The look at all data of a config: what it finds, counts and draws."""

import ast
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import finetune
from glip_jax import run
from glip_jax.data import images, remedies
from glip_jax.tools import check_data, check_report

ROOT = pathlib.Path(__file__).parents[2]
CAPTION = 'a red circle on a blue square'


def _entry(n):
  return {'id': 10 * n, 'file_name': f'{n}.png'}


def _box(n, label, bbox):
  return {
      'image_id': 10 * n,
      'category_id': label,
      'bbox': bbox,
      'tokens_positive': [[2, 12]] if label == 1 else [[18, 29]],
  }


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Six images and one that is cut short, in a good file and a bad one."""
  folder = tmp_path_factory.mktemp('data')
  rng = np.random.default_rng(0)
  for n in range(6):
    shape = (200, 100, 3) if n % 2 else (100, 200, 3)
    Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(
        folder / f'{n}.png'
    )
  (folder / 'cut.png').write_bytes((folder / '0.png').read_bytes()[:500])
  images = [_entry(n) | {'caption': CAPTION} for n in range(6)]
  boxes = [
      _box(0, 1, [0, 0, 10, 10]),
      _box(0, 2, [0, 0, 32, 32]),
      _box(0, 2, [5, 5, 96, 90]),
      _box(1, 2, [1, 1, 99, 150]),
      _box(2, 1, [1, 1, 20, 20]),
      _box(3, 1, [1, 1, 20, 20]),
      _box(4, 1, [-5, 1, 20, 20]),
  ]
  names = [(1, 'red circle'), (2, 'blue square'), (3, 'star')]
  categories = [{'id': n, 'name': name} for n, name in names]
  content = {'images': images, 'annotations': boxes, 'categories': categories}
  (folder / 'good.json').write_text(json.dumps(content))
  images[3] |= {'file_name': 'cut.png', 'caption': CAPTION + ' and a star' * 50}
  images[4] |= {'caption': CAPTION + ' and a star' * 50}
  images.append(_entry(7) | {'caption': CAPTION})
  boxes += [_box(2, 9, [1, 2, 3, 4]), _box(5, 1, [1, 2, 3])]
  content['categories'].append({'id': 4, 'name': 'Star'})
  (folder / 'bad.json').write_text(json.dumps(content))
  return folder


def _config(folder, train, evals=None, **fields):
  config = finetune.get_config()
  with config.unlocked():
    config.data.train = {
        name: run.source(images=str(folder), **spec)
        for name, spec in train.items()
    }
    config.evals = {
        name: run.evaluation(data=run.source(images=str(folder), **spec))
        for name, spec in (evals or {}).items()
    }
  config.data.update(fields)
  return run.read(config)


def _spec(folder, file, source='coco'):
  return {'annotations': str(folder / file), 'source': source}


def _faults(report, name):
  return {
      (fault['kind'], fault['record'])
      for fault in report['sources'][name]['faults']
  }


def test_statistics_are_those_of_the_records(folder, tmp_path):
  config = _config(folder, {'a': _spec(folder, 'good.json')})
  report = check_data.check(config, out=tmp_path)
  assert report['num_faults'] == 0
  found = report['sources']['train.a']
  assert found['records'] == found['images'] == 6 and found['boxes'] == 7
  assert found['kind'] == 'detection'
  assert found['images_without_boxes'] == 1 / 6
  # 10 x 10; 32 x 32, three of 20 x 20; 96 x 90; 99 x 150.
  sizes = {'small': 4 / 7, 'medium': 2 / 7, 'large': 1 / 7}
  assert found['box_sizes'] == pytest.approx(sizes)
  assert found['boxes_of_an_image']['most'] == 3
  assert found['image_heights']['mean'] == 150
  assert found['classes'] == {
      'red circle': {'boxes': 4, 'images': 4},
      'blue square': {'boxes': 3, 'images': 2},
      'star': {'boxes': 0, 'images': 0},
  }
  # red circle . blue square . star, [CLS] and [SEP].
  assert found['tokens_of_a_prompt']['most'] == 9
  # Half of each square is padding, nothing of a canvas of the right shape.
  padding = report['padding']
  assert padding['now']['padding'] == pytest.approx(0.5)
  assert padding['best_3']['padding'] < 0.05
  assert padding['best_5']['padding'] <= padding['best_3']['padding']
  sheet = Image.open(tmp_path / 'train.a.png')
  assert min(sheet.size) > 300
  assert np.asarray(sheet).std() > 20  # Something is on it.


def test_sizes_are_those_of_the_files_however_they_are_read(
    folder, tmp_path, monkeypatch
):
  shutil.copy(folder / 'good.json', tmp_path)
  for n in range(6):
    # A JPEG, whatever its name says: of these large ones are read at half.
    with Image.open(folder / f'{n}.png') as image:
      image.save(tmp_path / f'{n}.png', 'JPEG')

  def statistics():
    config = _config(tmp_path, {'a': _spec(tmp_path, 'good.json')})
    found = check_data.check(config)['sources']['train.a']
    return found['image_heights'], found['image_widths'], found['box_sizes']

  whole = statistics()
  monkeypatch.setattr(images, 'MODERATE_PIXELS', 100)
  assert statistics() == whole


def test_every_fault_has_its_record_and_a_remedy(folder):
  train = {
      'coco': _spec(folder, 'bad.json'),
      'grounding': _spec(folder, 'bad.json', 'mdetr'),
      'gone': _spec(folder, 'gone.json'),
  }
  evals = {'val': _spec(folder, 'bad.json')}
  report = check_data.check(_config(folder, train, evals, num_boxes=2))
  of_file = {
      ('missing image', "images[6] '7.png'"),
      ('malformed box', 'annotations[8] [1, 2, 3]'),
  }
  of_classes = of_file | {
      ('box of an unknown class', 'annotations[7] 9'),
      ('classes of the same tokens', "'star' and 'Star'"),
      ('record that cannot be read', '30'),
  }
  many = {('more boxes than num_boxes', '0')}
  assert _faults(report, 'train.coco') == of_classes | many
  assert _faults(report, 'evals.val') == of_classes
  assert _faults(report, 'train.grounding') == of_file | many | {
      ('record that cannot be read', '30'),
      ('prompt over num_tokens', '40'),
  }
  assert _faults(report, 'train.gone') == {('source that cannot be opened', '')}
  assert report['num_faults'] == 6 + 5 + 5 + 1
  for source in report['sources'].values():
    for fault in source['faults']:
      assert fault['remedy'] and '\n' not in fault['remedy']
  text = check_report.text(report)
  assert '17 faults' in text
  assert "images[6] '7.png': put the file into images=" in text
  assert 'raise config.data.num_boxes=2' in text
  short = check_report.text(report, most=0, whole='there')
  assert '1 more are in there' in short


def test_names_that_are_drawn_need_not_fit_together(folder):
  train = {'a': _spec(folder, 'good.json')}
  fields = {'num_tokens': 6, 'num_phrases': 2}
  (fault,) = _faults(
      check_data.check(_config(folder, train, **fields)), 'train.a'
  )
  assert fault[0] == 'prompt that cannot be used'
  drawn = {'on': True, 'full': 1.0, 'none': 0.0}
  report = check_data.check(_config(folder, train, draw_names=drawn, **fields))
  assert not report['num_faults']
  tokens = report['sources']['train.a']['tokens_of_a_prompt']
  assert tokens['least'] >= 3 and tokens['most'] <= 6


def test_workers_find_the_same_and_a_part_is_spread(folder):
  train = {'a': _spec(folder, 'bad.json', 'mdetr')}
  config = _config(folder, train)
  assert check_data.check(config, num_workers=2) == check_data.check(config)
  part = check_data.check(config, num_records=2)['sources']['train.a']
  assert part['images'] + len(part['faults']) >= 2 and part['images'] <= 2


def test_the_world_has_nothing_to_mend():
  config = finetune.get_config()
  with config.unlocked():
    world = {'source': 'shapes', 'split': 'train', 'num_images': 4}
    config.data.train = run.source(**world, unnamed=True)
    config.evals = {}
  report = check_data.check(run.read(config))
  found = report['sources']['train']
  assert report['num_faults'] == 0 and found['kind'] == 'grounding'
  assert (
      sum(own['boxes'] for own in found['classes'].values()) == found['boxes']
  )


def test_every_kind_of_fault_has_a_remedy_of_its_own():
  kinds = set()
  for path in (ROOT / 'glip_jax' / 'data').rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if (
          isinstance(node, ast.Call)
          and getattr(node.func, 'attr', '') == 'fault'
      ):
        if isinstance(node.args[0], ast.Constant):
          kinds.add(node.args[0].value)
  assert len(kinds) > 15
  assert {
      k for k in kinds if remedies.remedy(k) == 'mend it in the file'
  } == set()


def test_the_command_writes_its_report_and_exits_by_the_faults(
    folder, tmp_path
):
  command = [
      *(sys.executable, '-m', 'glip_jax.tools.check_data'),
      '--config=configs/finetune.py',
      f'--config.data.train.annotations={folder / "bad.json"}',
      f'--config.evals.val.data.annotations={folder / "good.json"}',
      f'--out={tmp_path}',
  ]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 1, done.stderr
  assert '5 faults' in done.stdout and 'Traceback' not in done.stderr
  report = json.loads((tmp_path / 'report.json').read_text())
  assert report['num_faults'] == 5
  written = {path.name for path in tmp_path.iterdir()}
  assert written == {'report.json', 'report.txt', 'evals.val.png'}
