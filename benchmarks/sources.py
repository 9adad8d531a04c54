"""How long each source takes to open, and how many records a second it reads.

  python -m benchmarks.sources [--num_images=2000]

Files of every format are written for the same images, JPEGs of 640 x 480 with
five boxes each, in a temporary folder. Seconds are those of one processor, so
that others that run beside do not count; nearly all of a record's is decoding.
`KB` is what is sent to each worker.
"""

import io
import json
import pathlib
import pickle
import random
import tarfile
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image

from glip_jax.data.sources import table

NUM_IMAGES = flags.DEFINE_integer('num_images', 2000, 'Images of each set.')
READ = flags.DEFINE_integer('read', 300, 'Records that are read of each.')

SIZE = 640, 480
NAMES = [f'thing {n}' for n in range(20)]
CAPTION = 'thing 0 and thing 1 beside thing 2 and thing 3 under thing 4'
SPANS = [[CAPTION.index(name), CAPTION.index(name) + 7] for name in NAMES[:5]]

Spec = dict[str, Any]


def _images(folder: pathlib.Path, count: int) -> list[str]:
  """Writes one JPEG under many names."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
  small.resize(SIZE, Image.Resampling.BICUBIC).save(folder / '0.jpg')
  for n in range(1, count):
    (folder / f'{n}.jpg').hardlink_to(folder / '0.jpg')
  return [f'{n}.jpg' for n in range(count)]


def _boxes(seed: int) -> list[tuple[int, list[int]]]:
  """(class, xyxy) of five boxes."""
  rng = random.Random(seed)
  found = []
  for label in range(5):
    x, y = rng.randrange(1, 500), rng.randrange(1, 380)
    found.append((label, [x, y, x + 100, y + 90]))
  return found


def _coco(root: pathlib.Path, files: list[str]) -> Iterator[tuple[str, Spec]]:
  images, boxes = [], []
  for n, file in enumerate(files):
    size = {'width': SIZE[0], 'height': SIZE[1], 'caption': CAPTION}
    url = {'coco_url': f'http://x/train2017/{file}', 'neg_category_ids': [7]}
    images.append({'id': n, 'file_name': file} | size | url)
    for label, (x1, y1, x2, y2) in _boxes(n):
      boxes.append({
          'image_id': n,
          'category_id': label,
          'bbox': [x1, y1, x2 - x1, y2 - y1],
          'tokens_positive': [SPANS[label]],
      })
  categories = [{'id': n, 'name': name} for n, name in enumerate(NAMES)]
  content = {'images': images, 'annotations': boxes, 'categories': categories}
  (root / 'coco.json').write_text(json.dumps(content))
  places = {
      'annotations': str(root / 'coco.json'),
      'images': str(root / 'images'),
  }
  for name in ('coco', 'lvis', 'mdetr'):
    yield name, {'source': name} | places


def _corners(box: list[int]) -> str:
  keys = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
  inside = ''.join(f'<{key}>{value}</{key}>' for key, value in keys)
  return f'<bndbox>{inside}</bndbox>'


def _xml(objects: str) -> str:
  size = f'<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>'
  return f'<annotation>{size}{objects}</annotation>'


def _voc(root: pathlib.Path, files: list[str]) -> Iterator[tuple[str, Spec]]:
  folder = root / 'voc'
  folder.mkdir()
  for n in range(len(files)):
    objects = ''.join(
        f'<object><name>{NAMES[label]}</name>{_corners(box)}</object>'
        for label, box in _boxes(n)
    )
    (folder / f'{n}.xml').write_text(_xml(objects))
  images = {'images': str(root / 'images')}
  yield 'voc', {'source': 'voc', 'directory': str(folder)} | images


def _yolo(root: pathlib.Path, files: list[str]) -> Iterator[tuple[str, Spec]]:
  (root / 'labels').mkdir()
  for n in range(len(files)):
    lines = []
    for label, (x1, y1, x2, y2) in _boxes(n):
      x, y = (x1 + x2) / 2 / SIZE[0], (y1 + y2) / 2 / SIZE[1]
      sides = (x2 - x1) / SIZE[0], (y2 - y1) / SIZE[1]
      lines.append(f'{label} {x:.6f} {y:.6f} {sides[0]:.6f} {sides[1]:.6f}')
    (root / 'labels' / f'{n}.txt').write_text('\n'.join(lines))
  path = root / 'data.yaml'
  path.write_text(f'train: images\nnames: {json.dumps(NAMES)}\n')
  yield 'yolo', {'annotations': str(path)}


def _odvg(root: pathlib.Path, files: list[str]) -> Iterator[tuple[str, Spec]]:
  kinds: dict[str, list[str]] = {'lists': [], 'sentences': [], 'scored': []}
  for n, file in enumerate(files):
    image = {'filename': file, 'width': SIZE[0], 'height': SIZE[1]}
    boxes = _boxes(n)
    instances = [
        {'bbox': box, 'label': label, 'category': NAMES[label]}
        for label, box in boxes
    ]
    regions = [
        {'bbox': box, 'phrase': NAMES[label], 'tokens_positive': [SPANS[label]]}
        for label, box in boxes
    ]
    scored = {
        'caption': CAPTION,
        'bboxes': [box for _, box in boxes],
        'scores': [0.9] * 5,
        'tokens_positive': [[SPANS[label]] for label, _ in boxes],
    }
    grounding = {'caption': CAPTION, 'regions': regions}
    detection = {'instances': instances}
    kinds['lists'].append(json.dumps(image | {'detection': detection}))
    kinds['sentences'].append(json.dumps(image | {'grounding': grounding}))
    kinds['scored'].append(json.dumps(image | scored))
  for kind, lines in kinds.items():
    path = root / f'{kind}.jsonl'
    path.write_text('\n'.join(lines))
    name = 'pseudo_labels' if kind == 'scored' else 'odvg'
    places = {'annotations': str(path), 'images': str(root / 'images')}
    yield f'{name}, {kind}', {'source': name} | places


def _flickr(root: pathlib.Path, files: list[str]) -> Iterator[tuple[str, Spec]]:
  marked = CAPTION
  for n, name in enumerate(NAMES[:5]):
    marked = marked.replace(name, f'[/EN#{n}/other {name}]')
  for folder in ('Sentences', 'Annotations'):
    (root / folder).mkdir()
  for n in range(len(files)):
    (root / 'Sentences' / f'{n}.txt').write_text(f'{marked}\n' * 5)
    objects = ''.join(
        f'<object><name>{label}</name>{_corners(box)}</object>'
        for label, box in _boxes(n)
    )
    (root / 'Annotations' / f'{n}.xml').write_text(_xml(objects))
  places = {'directory': str(root), 'images': str(root / 'images')}
  yield 'flickr30k', {'source': 'flickr30k'} | places


def _shards(root: pathlib.Path, files: list[str]) -> Iterator[tuple[str, Spec]]:
  (root / 'shards').mkdir()
  for start in range(0, len(files), 1000):
    path = root / 'shards' / f'{start}.tar'
    # Images are one file under many names, which tar would write as links.
    with tarfile.open(path, 'w', dereference=True) as archive:
      for file in files[start : start + 1000]:
        archive.add(root / 'images' / file, file, recursive=False)
        info = tarfile.TarInfo(f'{file[:-4]}.txt')
        info.size = len(CAPTION)
        archive.addfile(info, io.BytesIO(CAPTION.encode()))
  directory = str(root / 'shards')
  yield 'webdataset', {'source': 'webdataset', 'directory': directory}


WRITERS = _coco, _voc, _yolo, _odvg, _flickr, _shards


def _measure(spec: Spec) -> str:
  start = time.process_time()
  source = table.open_source(spec, bad_records='raise')
  opened = time.process_time() - start
  size = len(pickle.dumps(source)) / 1000
  order = random.Random(0).choices(range(len(source)), k=READ.value)
  start = time.process_time()
  for index in order:
    source[index]
  rate = READ.value / (time.process_time() - start)
  return f'{len(source):8}  {opened:8.2f}  {size:8.0f}  {rate:10.0f}'


def main(argv: list[str]) -> None:
  """Measures all sources, one after the other."""
  del argv
  print(f'{"source":24} {"records":>8}  {"opened s":>8}  {"KB":>8}  records/s')
  for write in WRITERS:
    with tempfile.TemporaryDirectory() as folder:
      root = pathlib.Path(folder)
      files = _images(root / 'images', NUM_IMAGES.value)
      for name, spec in write(root, files):
        print(f'{name:24} {_measure(spec)}', flush=True)


if __name__ == '__main__':
  app.run(main)
