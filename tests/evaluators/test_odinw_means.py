"""The means over the sets of ODinW, and what the challenge is given."""

import json
import types as python_types

import pytest

from configs import odinw as odinw_config
from glip_jax import run
from glip_jax.data import specs
from glip_jax.data.sources.odinw_sets import ODINW
from glip_jax.errors import UserError
from glip_jax.evaluators import odinw, runner
from glip_jax.tools import odinw_submission


def _data(names, **fields):
  return {
      f'on {name}': specs.Spec(source='odinw', dataset=name, **fields)
      for name in names
  }


def _results(data, value=0.5):
  """AP of the n-th set is n hundredths more."""
  return {
      name: python_types.SimpleNamespace(
          metrics={'AP': value + n / 100, 'AP50': value}
      )
      for n, name in enumerate(data)
  }


def test_the_mean_of_13_sets_is_that_of_those_alone():
  data = _data(ODINW) | {'val': specs.Spec()}
  means = odinw.means(data, _results(data))
  assert set(means) == {'ODinW-13', 'ODinW-35'}
  places = [n for n, row in enumerate(ODINW.values()) if row.in_13]
  mean = 0.5 + sum(places) / 13 / 100
  assert means['ODinW-13'].metrics['AP'] == pytest.approx(mean)
  assert means['ODinW-35'].metrics['AP'] == pytest.approx(0.5 + 0.17)
  assert means['ODinW-35'].metrics['AP50'] == pytest.approx(0.5)


def test_there_is_no_mean_where_a_set_is_missing_or_there_twice():
  names = [name for name in ODINW if name != 'pothole']
  assert not odinw.expected_means(_data(names))
  twice = _data(ODINW) | {'again': specs.Spec(source='odinw', dataset='dice')}
  assert set(odinw.expected_means(twice)) == {'ODinW-13'}


def test_the_protocol_stands_beside_the_numbers():
  data = _data([n for n, row in ODINW.items() if row.in_13])
  data['on Aquarium'] = specs.Spec(
      source='odinw', dataset='Aquarium', split='test', published_prompt=True
  )
  data['on Raccoon'] = specs.Spec(
      source='odinw', dataset='Raccoon', class_prompts='own.json'
  )
  result = odinw.means(data, _results(data))['ODinW-13']
  rows = {
      line.split()[0]: line.split()[1:] for line in result.table().split('\n')
  }
  assert rows['Aquarium'][:3] == ['test', 'sentence', '51.0']
  assert rows['Raccoon'][1] == 'own'
  assert rows['VehiclesOpenImages'][:2] == ['minival', 'names']
  assert rows['mean'] == ['of', '13', '56.0', '50.0']
  assert result.to_json()['sets'][1]['dataset'] == 'Aquarium'


def test_a_set_without_truth_leaves_no_mean():
  data = _data([n for n, row in ODINW.items() if row.in_13])
  results = _results(data)
  results['on pothole'].metrics['AP'] = -1
  assert odinw.means(data, results)['ODinW-13'].metrics['AP'] == -1


@pytest.mark.parametrize(
    'options, count, sentences', [('T,13,/data', 13, 0), ('T,35,/data', 35, 4)]
)
def test_a_config_has_an_evaluation_for_every_set(options, count, sentences):
  evals = run.read(odinw_config.get_config(options)).evals
  assert len(evals) == count
  assert sum(x.data.published_prompt for x in evals.values()) == sentences
  assert all(x.data.directory == '/data' for x in evals.values())
  means = odinw.expected_means(runner.detection_data(evals))
  assert f'ODinW-{count}' in means


def test_the_split_of_a_config_may_be_another():
  config = run.read(odinw_config.get_config('T,13,/data,test'))
  assert {x.data.split for x in config.evals.values()} == {'test'}
  for wrong in ('T', 'T,14', 'T,13,a,test,b'):
    with pytest.raises(UserError, match='must be VARIANT,13 or VARIANT,35'):
      odinw_config.get_config(wrong)


def test_the_name_of_a_mean_is_refused_for_an_evaluation():
  config = odinw_config.get_config('T,13,/data')
  config.evals['ODinW-13'] = run.evaluation()
  with pytest.raises(UserError, match='evals.ODinW-13 has the name of a mean'):
    run.read(config)


def _predicted(folder, **rows):
  for name, own in rows.items():
    (folder / name).mkdir(parents=True)
    (folder / name / 'predictions.json').write_text(json.dumps(own))
  return folder


def test_predictions_are_joined_into_one_file_by_set(tmp_path):
  row = {'image_id': 1, 'category_id': 2, 'bbox': [1, 2, 3, 4], 'score': 0.5}
  folder = _predicted(tmp_path / 'a', dice=[row], pothole=[], val=[row])
  missing = odinw_submission.join(
      [str(folder)], str(tmp_path / 'x' / 'all.json')
  )
  written = json.loads((tmp_path / 'x' / 'all.json').read_text())
  assert written == {'dice': [row], 'pothole': []}
  assert len(missing) == 33 and 'dice' not in missing


def test_predictions_of_seeds_are_joined_by_set_and_seed(tmp_path):
  folders = [_predicted(tmp_path / s, dice=[{'s': s}]) for s in ('3', '30')]
  evals = [f'{folder.name}={folder}' for folder in folders]
  odinw_submission.join(evals, str(tmp_path / 'all.json'))
  written = json.loads((tmp_path / 'all.json').read_text())
  assert written == {'dice': {'3': [{'s': '3'}], '30': [{'s': '30'}]}}
  other = _predicted(tmp_path / '300', dice=[], pothole=[])
  with pytest.raises(UserError, match='3 and 300 are not .* has pothole'):
    odinw_submission.join([*evals, f'300={other}'], str(tmp_path / 'b.json'))


def test_folders_that_are_none_are_refused(tmp_path):
  out = str(tmp_path / 'all.json')
  with pytest.raises(UserError, match='no SET/predictions.json of any set'):
    odinw_submission.join([str(tmp_path)], out)
  for evals in ([], ['a', 'b'], ['a', '3=b']):
    with pytest.raises(UserError, match='must be one folder .* or SEED=FOLDER'):
      odinw_submission.join(evals, out)
