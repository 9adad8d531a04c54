"""The files that an evaluation leaves: numbers and predictions as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from glip_jax import storage
from glip_jax.evaluators import protocols


def write_metrics(
    path: str | epath.PathLike, results: Mapping[str, protocols.Result]
) -> None:
  """Writes `{name: result}` as JSON; -1 stands where there is no truth."""
  values = {name: result.to_json() for name, result in results.items()}
  storage.write_whole(path, f'{json.dumps(values, indent=2)}\n'.encode())


def write_predictions(
    path: str | epath.PathLike, predictions: list[dict[str, Any]]
) -> None:
  """Writes rows as a JSON list, one row a line: COCO's result format."""
  rows = ',\n'.join(json.dumps(row) for row in predictions)
  storage.write_whole(path, (f'[\n{rows}\n]\n' if rows else '[]\n').encode())
