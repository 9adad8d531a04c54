"""An interrupted evaluation goes on, and nothing stale is ever used."""

import dataclasses
import json

import numpy as np
import pytest

from glip_jax import fields, types
from glip_jax.evaluators import resuming, runner

DATA = {
    'tokenizer': 'shapes',
    'num_tokens': 160,
    'num_phrases': 40,
    'num_boxes': 16,
    'image_size': (64, 64),
}
SHAPES = {'source': 'shapes', 'split': 'val', 'num_images': 11}
RELATIONS = SHAPES | {'prompts': {'relation': 1.0}}


class Interrupted(BaseException):
  """As KeyboardInterrupt is, no Exception."""


class _Stub:
  """Finds the truth moved a little, and ends after some batches."""

  def __init__(self, batches=None):
    self._left, self.seen = batches, []

  def detect(self, batch, *, same_prompt=False):
    if self._left == 0:
      raise Interrupted
    if self._left is not None:
      self._left -= 1
    self.seen += [i for i in np.asarray(batch.id).tolist() if i >= 0]
    luck = np.random.default_rng(abs(int(batch.id[0])))
    targets = batch.targets
    moved = luck.uniform(-4, 4, targets.boxes.shape)
    return types.Detections(
        boxes=(targets.boxes + moved).astype(np.float32),
        scores=luck.uniform(0, 1, targets.valid.shape).astype(np.float32),
        labels=targets.phrase,
        valid=targets.valid & ~targets.crowd,
    )


def _evals(**values):
  kinds = {
      'val': {'type': 'detection', 'data': SHAPES},
      'words': {'type': 'grounding', 'data': RELATIONS},
  }
  return {
      name: fields.from_dict(
          runner.Evaluation, {'batch_size': 2} | kind | values, f'evals.{name}'
      )
      for name, kind in kinds.items()
  }


def _run(folder, stub, *, key='a', evals=None, seconds=0.0, **share):
  return runner.run_evals(
      evals or _evals(),
      stub,
      data=DATA,
      workdir=folder,
      place=resuming.Place(folder, key, seconds),
      **share,
  )


def _interrupt(folder, batches, **how):
  stub = _Stub(batches)
  with pytest.raises(Interrupted):
    _run(folder, stub, **how)
  assert not (folder / 'metrics.json').exists()
  return stub.seen


# Images that were asked for and not answered; every batch is written, or what
# there is when something ends it.
@pytest.mark.parametrize(
    'batches, lost, seconds', [(1, 2, 0.0), (6, 0, 1e9), (8, 2, 0.0)]
)
def test_it_goes_on_where_it_stopped_with_the_same_numbers(
    tmp_path, batches, lost, seconds
):
  whole = _Stub()
  expected = _run(tmp_path / 'whole', whole)
  before = _interrupt(tmp_path / 'cut', batches, seconds=seconds)
  after = _Stub()
  assert _run(tmp_path / 'cut', after) == expected
  for name in ('metrics.json', 'val/predictions.json', 'val/matches.npz'):
    kept, new = (tmp_path / x / name for x in ('whole', 'cut'))
    assert kept.read_bytes() == new.read_bytes()
  assert len(after.seen) == len(whole.seen) - len(before) + lost
  assert not (tmp_path / 'cut' / resuming.FOLDER).exists()


def test_what_is_done_is_counted(tmp_path):
  _interrupt(tmp_path, 4)
  heard = []
  _run(tmp_path, _Stub(), progress=lambda *said: heard.append(said))
  assert heard[0] == ('val', 8, 11) and heard[-1] == ('words', 11, 11)


@pytest.mark.parametrize(
    'change',
    [
        {'key': 'b'},
        {'evals': _evals(batch_size=3)},
        {'evals': _evals(min_iou=0.7)},
        {'evals': _evals(data=SHAPES | {'num_images': 12}, type='detection')},
    ],
)
def test_what_was_found_by_something_else_is_not_used(tmp_path, change, caplog):
  _interrupt(tmp_path, 4)
  stub = _Stub()
  _run(tmp_path, stub, **change)
  assert stub.seen[:11] == list(range(11))
  assert 'begins anew' in caplog.text and 'val' in caplog.text
  assert not (tmp_path / resuming.FOLDER).exists()


def test_another_number_of_processes_begins_anew(tmp_path, caplog):
  _interrupt(tmp_path, 4)
  stub = _Stub(2)
  gather = lambda value: [value]
  with pytest.raises(Interrupted):
    _run(tmp_path, stub, process_index=0, process_count=2, gather=gather)
  assert stub.seen == [0, 2, 4, 6]
  assert 'was by 1 processes and not 2' in caplog.text
  kept = [x.name for x in (tmp_path / resuming.FOLDER / 'val').iterdir()]
  assert kept == ['0_of_2']


def test_processes_go_on_from_what_all_of_them_have(tmp_path):
  evals = {'val': _evals(batch_size=1)['val']}
  share = lambda index: dict(process_index=index, process_count=2)
  whole, states = _run(tmp_path / 'whole', _Stub(), evals=evals), []
  for index, batches in ((0, 3), (1, 2)):
    _interrupt(tmp_path / 'cut', batches, evals=evals, **share(index))
  # The first has two batches, the second one.
  stub = _Stub()

  def gather_second(value):
    if value == 1:
      return [2, 1]
    states.append(value)
    return [value]

  runner.run_evals(
      evals,
      stub,
      data=DATA,
      place=resuming.Place(tmp_path / 'cut', 'a'),
      gather=gather_second,
      **share(1),
  )
  assert stub.seen == [3, 5, 7, 9]
  gather_first = lambda value: [2, 1] if value == 2 else [value, *states]
  stub = _Stub()
  both = _run(
      tmp_path / 'cut', stub, evals=evals, gather=gather_first, **share(0)
  )
  assert stub.seen == [2, 4, 6, 8, 10]
  assert both == whole and both['val'].num_images == 11
  assert not (tmp_path / 'cut' / resuming.FOLDER).exists()


def test_a_damaged_file_ends_what_is_used(tmp_path):
  _interrupt(tmp_path, 5)
  folder = tmp_path / resuming.FOLDER / 'val' / '0_of_1'
  second = sorted(folder.iterdir())[1]
  second.write_bytes(second.read_bytes()[:-40])
  stub = _Stub()
  _run(tmp_path, stub)
  assert stub.seen[:9] == list(range(2, 11))


def test_changed_data_is_told_by_its_file(tmp_path):
  path = tmp_path / 'val.json'
  path.write_text(json.dumps({}))

  @dataclasses.dataclass
  class Source:
    names: tuple[str, ...] = ('cat',)

    def __len__(self):
      return 2

    def image_id(self, index):
      return index

  spec = {'annotations': str(path)}
  before = resuming.data_key(Source(), spec)
  assert resuming.data_key(Source(), spec) == before
  assert resuming.data_key(Source(('dog',)), spec) != before
  path.write_text(json.dumps({'images': []}))
  assert resuming.data_key(Source(), spec) != before
