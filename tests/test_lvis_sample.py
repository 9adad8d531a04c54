"""LVIS's 100 published records, with images drawn at their sizes."""

import json

import numpy as np
import programs
import pytest
from PIL import Image

from glip_jax.data.sources import table


@pytest.mark.large
def test_the_sample_is_trained_on_and_evaluated(shared, tmp_path):
  annotations = shared / 'data' / 'annotation_samples' / 'lvis_val_100.json'
  images = tmp_path / 'images'
  rng = np.random.default_rng(0)
  entries = json.loads(annotations.read_text())['images']
  for entry in entries:
    path = images / entry['file_name']
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    size = entry['width'], entry['height']
    Image.fromarray(coarse).resize(size, Image.BICUBIC).save(path)
  workdir = tmp_path / 'run'
  printed = programs.finish(
      programs.start(
          'train.py',
          f'--config=tests/lvis_config.py:{shared},{images}',
          f'--workdir={workdir}',
          cache=tmp_path / 'cache',
      )
  )
  source = table.open_source(
      dict(source='lvis', annotations=str(annotations), images=str(images))
  )
  assert len(source.names) == 1230 and len(source) == 100
  losses = [
      json.loads(line)['loss']
      for line in (workdir / 'metrics.jsonl').read_text().splitlines()
      if 'loss' in line
  ]
  assert len(losses) == 2 and np.isfinite(losses).all()
  metrics = json.loads((workdir / 'eval' / 'metrics.json').read_text())['val']
  assert metrics['num_images'] == 100 and 0 <= metrics['AP'] < 0.1
  found = json.loads((workdir / 'eval/val/predictions.json').read_text())
  ids = {source.category_id(label) for label in range(1230)}
  # Of classes in chunks from the first to the last.
  met = {row['category_id'] for row in found}
  assert met <= ids and len(met) > 100 and max(met) > 1200
  assert 'AP50' in printed
