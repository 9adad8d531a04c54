"""Weights that a rule makes from torch's names, for public reference models.

Needs numpy alone, so that it runs beside torch too: the programs `make.py` in
tests/golden give these weights to the reference, the tests to this project.
"""

import json
import pathlib
import re
import zlib

import numpy as np

# pattern -> (center, spread, least). A spread of 0 is that of He's rule.
_TABLE = (
    # Residuals that add a little each keep deep maps in bounds.
    (r'bn3\.weight$', (0.3, 0.05, None)),
    (r'running_var$', (1.0, 0.3, 0.3)),
    (r'running_mean$', (0.0, 0.1, None)),
    (r'embeddings\.weight$', (0.0, 0.5, None)),
    (r'(bn\d|downsample\.1|LayerNorm)\.weight$', (1.0, 0.1, None)),
    (r'\.weight$', (0.0, 0.0, None)),
    (r'\.bias$', (0.0, 0.1, None)),
)


def make(key: str, shape: tuple[int, ...]) -> np.ndarray:
  """float32 array of an official name."""
  center, spread, least = next(
      rule for pattern, rule in _TABLE if re.search(pattern, key)
  )
  spread = spread or np.sqrt(2 / np.prod(shape[1:]))
  seed = zlib.crc32(key.encode('ascii'))
  draw = np.random.Generator(np.random.PCG64(seed)).standard_normal(
      size=shape, dtype=np.float32
  )
  value = np.float32(center) + np.float32(spread) * draw
  return value if least is None else np.maximum(value, np.float32(least))


def official_state(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Every array of a reference model, by official name.

  Args:
    path: of the JSON file with their shapes.
  """
  shapes = json.loads(path.read_text())
  return {key: make(key, tuple(shape)) for key, shape in shapes.items()}
