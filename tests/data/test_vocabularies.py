"""Data sets of names that a model cannot read, or not tell apart."""

import json

import numpy as np
import pytest
from small_world import NUM_IMAGES, config_of, spec_of

from glip_jax.data import (
    element,
    pipeline,
    records,
    settings,
    specs,
    training_sources,
    vocabularies,
)
from glip_jax.data.sources import table
from glip_jax.errors import UserError
from glip_jax.evaluators import evaluation, runner
from glip_jax.text import prompts


@pytest.fixture
def named(world, tmp_path):
  """Writes the small world with other names and captions; gives its spec."""

  def write(*names, captions=(), **fields):
    content = json.loads((world / 'good.json').read_text())
    content['categories'] = [
        {'id': n, 'name': name} for n, name in enumerate(names, 1)
    ]
    for image, caption in zip(content['images'], captions, strict=False):
      image['caption'] = caption
    (tmp_path / 'own.json').write_text(json.dumps(content))
    path = str(tmp_path / 'own.json')
    return spec_of(world, annotations=path, **fields)

  return write


def _refusals(spec, **fields):
  """What a data set is refused with, in each way that it comes to a model."""
  data = config_of(spec, **fields)
  staged = {'train': {'split': 'val'}, 'curriculum': {'a': spec | {'until': 5}}}
  evals = {'val': runner.Evaluation(data=specs.Spec(**spec))}
  ways = {
      'config.data.train': lambda: training_sources.open_training(data),
      'config.data.curriculum.a': lambda: training_sources.open_training(
          data | staged | {'num_tokens': 256, 'num_phrases': 30}
      ),
      'evals.val.data': lambda: evaluation.open_sources(evals, data),
      '': lambda: next(
          pipeline.eval_batches(table.open_source(spec), data, batch_size=1)
      ),
  }
  for field, way in ways.items():
    with pytest.raises(UserError) as info:
      way()
    assert str(info.value).startswith(field)
    yield str(info.value)


@pytest.mark.parametrize(
    'names',
    [
        ('bat_(animal)', 'bat_(sports_equipment)'),
        ('p\u00e2t\u00e9', 'pate'),
        ('5 \u20ac', '5 \u00a3'),
        ('Polish', 'polish'),
    ],
)
def test_classes_of_the_same_tokens_are_refused_by_name(named, names):
  for message in _refusals(named(*names)):
    assert f'classes {names[0]!r} and {names[1]!r} are the same' in message
    assert 'by class_map=' in message
    assert 'exclude=' in message


def test_published_names_of_the_same_tokens_are_told_and_evaluated(
    named, caplog
):
  spec = named('Polish', 'polish')
  source = table.open_source(spec)
  source.names_are_published = True
  vocabularies.check_evaluated(source, settings.read_data(config_of(spec)))
  assert "'Polish' and 'polish' are the same tokens" in caplog.text
  with pytest.raises(UserError, match='are the same tokens'):
    element_of = settings.to_element(config_of(spec))
    vocabularies.check_prompt(source, element_of)


def test_classes_of_the_same_tokens_are_mended_as_the_message_says(named):
  names = 'bat_(animal)', 'bat_(sports_equipment)'
  mended = dict(exclude=(names, names[:1]), merge=(('bat', 'bat'), ()))
  for file, exclude in mended.values():
    data = config_of(named(*file, exclude=exclude))
    (opened,) = training_sources.open_training(data).train
    assert [name.strip() for name in opened.source.text(0).phrases] == ['bat']


@pytest.mark.parametrize(
    'new, phrases',
    [
        (('flying bat', 'baseball bat'), ['flying bat', 'baseball bat']),
        (('bat', 'bat'), ['bat']),
    ],
)
def test_classes_of_the_same_tokens_are_mended_by_a_class_map(
    named, new, phrases
):
  names = 'bat_(animal)', 'bat_(sports_equipment)'
  spec = named(*names, class_map=tuple(zip(names, new, strict=True)))
  data = config_of(spec)
  (opened,) = training_sources.open_training(data).train
  assert list(opened.source.text(0).phrases) == phrases


def test_the_data_set_of_use_is_refused_with_all_its_names(shared):
  folder = shared / 'data' / 'use_cases' / 'names_same_tokens'
  spec = {
      'annotations': str(folder / 'annotations.json'),
      'images': str(folder / 'images'),
  }
  for message in _refusals(spec):
    assert (
        "'bat_(animal)' and 'bat_(sports_equipment)';"
        " 'p\u00e2t\u00e9' and 'pate' are the same tokens"
    ) in message


def test_a_class_of_unknown_words_is_refused_by_name(named):
  spec = named('red circle', '\u56fe \u738b')
  with pytest.raises(UserError, match="no word of '\u56fe \u738b'.*exclude="):
    training_sources.open_training(config_of(spec))
  for message in _refusals(named('\u56fe', '\u738b', exclude=('\u56fe',))):
    assert "no word of '\u738b'" in message


def test_words_that_are_unknown_in_part_are_told_once(named, monkeypatch):
  told = []
  monkeypatch.setattr(
      element.logging,
      'log_first_n',
      lambda level, message, n, *args: told.append(message % args),
  )
  spec = named('red circle', '5 \u20a9')
  for _ in range(2):
    training_sources.open_training(config_of(spec))
    batches = pipeline.eval_batches(
        table.open_source(spec), config_of(spec), batch_size=4
    )
    assert len(list(batches)) == 2
  (line,) = told
  assert line.startswith("'5 \u20a9' has words that tokenizer='shapes' does")


def test_workers_tell_of_captions_alone(monkeypatch):
  told = []
  monkeypatch.setattr(element, '_tell_unknown', lambda *name: told.append(name))
  read = settings.to_element(config_of({'split': 'val'}))
  for is_list in (True, False):
    record = records.Record(
        image=np.zeros((32, 32, 3), np.uint8),
        boxes=np.zeros((0, 4), np.float32),
        phrase=np.zeros(0, np.int32),
        crowd=np.zeros(0, bool),
        text=prompts.from_names(['dog', f'{7 + is_list} \u20a9']),
        is_list=is_list,
        index=0,
    )
    read.map(record)
  assert told == [('7 \u20a9', 'shapes')]


@pytest.mark.parametrize('bad_records', ['skip', 'raise'])
def test_a_caption_with_a_phrase_of_unknown_words_is_a_bad_record(
    named, bad_records
):
  # A phrase at [2, 12), another at [18, 29).
  captions = ['a red circle on a \u56fe\u738b\u56fe\u738b\u56fe\u738b\u56fe']
  spec = named('a', 'b', captions=captions, source='mdetr')
  data = config_of(spec, bad_records=bad_records)
  batches = pipeline.eval_batches(
      table.open_source(spec), data, batch_size=NUM_IMAGES
  )
  if bad_records == 'raise':
    with pytest.raises(UserError, match='record 100: .*knows no word of'):
      next(batches)
  else:
    assert next(batches).id.tolist() == [-2, *range(1, NUM_IMAGES)]
