"""The table of families: what a row must offer, and that a row is enough."""

import pathlib
import sys

import numpy as np
import programs
import pytest

sys.path.append(str(pathlib.Path(__file__).parent))

import linear_config
import linear_family
import query_config

from glip_jax import errors, loading
from glip_jax.detectors import recipe as recipes
from glip_jax.text import prompts
from glip_jax.training import metrics

# A family that the table does not have, and one that it has; both tiny.
CONFIGS = {'linear': linear_config, 'query': query_config}


def test_every_family_offers_what_a_recipe_has():
  for family in recipes.FAMILIES.values():
    name = next(iter(family.variants))
    made = family.build(family.variants[name])
    assert isinstance(made, recipes.Recipe)
    assert recipes.variant(name) is family.variants[name]


def test_an_unknown_family_is_named():
  with pytest.raises(
      errors.UserError, match="family='yolo' is unknown.*'glip'"
  ):
    recipes.build({'family': 'yolo'})
  with pytest.raises(errors.UserError, match=r"family=\['glip'\] is unknown"):
    recipes.build({'family': ['glip']})
  with pytest.raises(errors.UserError, match='family=None is unknown'):
    recipes.build({})


@pytest.mark.parametrize(
    'family',
    [
        pytest.param('linear', marks=pytest.mark.slow),
        pytest.param('query', marks=pytest.mark.large),
    ],
)
def test_a_folder_and_a_row_train_resume_evaluate_and_predict(
    family, tmp_path, compiled, monkeypatch
):
  workdir, steps = tmp_path / 'run', CONFIGS[family].STEPS
  config = f'--config=tests/detectors/{family}_config.py'

  def run(program, *arguments):
    return programs.finish(
        programs.start(
            program, config, f'--workdir={workdir}', *arguments, cache=compiled
        )
    )

  run('train.py')
  printed = run('train.py', f'--config.steps={steps + 2}')
  assert f'continuing {workdir} at step {steps}' in printed
  records = metrics.read_metrics(workdir / 'metrics.jsonl')
  assert [r['step'] for r in records] == [1, 2, 3, 4]
  assert records[-1]['loss'] < records[0]['loss']
  printed = run('eval.py', f'--out={tmp_path / "eval"}')
  assert 'AP50' in printed
  assert (tmp_path / 'eval' / 'val' / 'predictions.json').exists()
  if family == 'linear':
    monkeypatch.setitem(recipes.FAMILIES, 'linear', linear_family.ROW)
  find = loading.load_workdir(workdir, threshold=0.0)
  image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
  found = find(image, prompts.from_names(('red circle', 'blue star')))
  assert set(found.phrases) == {'red circle', 'blue star'}
