"""The tables of docs/faulty_data.md, row by row: files of one fault each."""

import json
import pathlib
import re
import shutil

import pytest

from glip_jax.data import images, pipeline
from glip_jax.data.sources import table
from glip_jax.errors import UserError

DOCS = pathlib.Path(__file__).parents[2] / 'docs' / 'faulty_data.md'


def _rows(title):
  """Cells of the table whose first heading is `title`."""
  lines = iter(DOCS.read_text(encoding='utf-8').splitlines())
  for line in lines:
    if line.startswith(f'| {title} |'):
      next(lines)
      break
  rows = []
  for line in lines:
    if not line.startswith('|'):
      return rows
    rows.append([cell.strip() for cell in line.strip('|').split('|')])
  return rows


def _cases(title):
  """(name of a file, cells) for each case of a table."""
  return [
      (name, row)
      for row in _rows(title)
      for name in re.findall('`([^`]+)`', row[-1])
  ]


def _kept(spec, name, mode, vocabulary):
  """What reaches the model: 'records / boxes / classes', or 'refused'."""
  config = {
      'tokenizer': str(vocabulary),
      'num_tokens': 256,
      'num_phrases': 80,
      'num_boxes': 5002 if name == 'many_boxes' else 10,
      'image_size': (32, 32),
      'bad_records': mode,
  }
  try:
    source = table.open_source(spec, bad_records=mode)
    records = boxes = phrases = 0
    for batch in pipeline.eval_batches(source, config, batch_size=2):
      real = batch.id >= 0
      records += int(real.sum())
      boxes += int(batch.targets.valid[real].sum())
      phrases += int(batch.prompt.spans[real].any(axis=-1).sum())
  except UserError as error:
    assert '\n' not in str(error)
    return 'refused'
  names = getattr(source, 'names', ())
  return f'{records} / {boxes} / {len(names) or phrases}'


@pytest.mark.parametrize(
    'title, kind, folder',
    [('COCO file', 'coco', 'coco'), ('MDETR file', 'mdetr', 'grounding')],
)
def test_every_faulty_file_is_treated_as_the_table_says(
    shared, title, kind, folder
):
  folder = shared / 'data' / 'edge_cases' / folder
  vocabulary = shared / 'data' / 'vocab' / 'bert-base-uncased-vocab.txt'
  found, expected = {}, {}
  for name, (_, skip, refuse, *_) in _cases(title):
    spec = {
        'source': kind,
        'annotations': str(folder / f'{name}.json'),
        'images': str(folder.parent / 'images'),
    }
    expected[name] = skip, skip if refuse == 'same' else refuse
    found[name] = tuple(
        _kept(spec, name, mode, vocabulary) for mode in ('skip', 'raise')
    )
  assert found == expected


def test_every_faulty_voc_file_is_treated_as_the_table_says(shared, tmp_path):
  folder = shared / 'data' / 'edge_cases'
  vocabulary = shared / 'data' / 'vocab' / 'bert-base-uncased-vocab.txt'
  image = (folder / 'images' / 'ok_rgb.jpg').read_bytes()
  found, expected = {}, {}
  for name, (_, skip, refuse, *_) in _cases('VOC file'):
    own = tmp_path / name
    own.mkdir()
    shutil.copy(folder / 'voc' / 'ok.xml', own / 'first.xml')
    shutil.copy(folder / 'voc' / f'{name}.xml', own / 'second.xml')
    (own / 'first.jpg').write_bytes(image)
    (own / 'ok_rgb.jpg').write_bytes(image)
    spec = {'source': 'voc', 'directory': str(own)}
    expected[name] = skip, skip if refuse == 'same' else refuse
    found[name] = tuple(
        _kept(spec, name, mode, vocabulary) for mode in ('skip', 'raise')
    )
  assert found == expected


@pytest.mark.parametrize(
    'title, manifest',
    [
        ('COCO file', 'coco'),
        ('MDETR file', 'grounding'),
        ('VOC file', 'voc'),
        ('image', 'images'),
    ],
)
def test_the_tables_name_every_file_once(shared, title, manifest):
  path = shared / 'data' / 'edge_cases' / f'{manifest}_manifest.json'
  content = json.loads(path.read_text(encoding='utf-8'))
  files = (
      [entry['file'] for entry in content]
      if manifest == 'images'
      else [pathlib.Path(name).stem for name in content]
  )
  assert sorted(name for name, _ in _cases(title)) == sorted(files)


def test_every_unusual_image_is_read_or_refused_as_the_table_says(shared):
  folder = shared / 'data' / 'edge_cases'
  manifest = json.loads((folder / 'images_manifest.json').read_text('utf-8'))
  sizes = {entry['file']: entry.get('upright_size') for entry in manifest}
  for name, (_, result, _) in _cases('image'):
    path = folder / 'images' / name
    if result.startswith('refused'):
      with pytest.raises(images.BadImage, match=re.escape(name)):
        images.read_image(path)
      continue
    image = images.read_image(path)
    width, height = sizes[name]
    assert image.shape == (height, width, 3), name
    assert images.image_size(path) == (height, width), name
