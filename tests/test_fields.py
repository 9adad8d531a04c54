"""Config dataclasses: what fills them, what they refuse, how they are shown."""

import dataclasses
from collections.abc import Mapping

import ml_collections
import pytest

from glip_jax import errors, fields


@dataclasses.dataclass(frozen=True)
class Part:
  """A part."""

  on: bool = fields.field(True, 'whether it is there')
  rate: float = fields.field(0.1, 'share', least=0, below=1)


@dataclasses.dataclass(frozen=True)
class Whole:
  """A whole."""

  steps: int = fields.field(10, 'how many', least=1)
  name: str = fields.field('a', 'which', choices=('a', 'b'))
  size: tuple[int, int] = fields.field((1, 2), 'h and w, pixels', least=1)
  table: tuple[tuple[str, float], ...] = fields.field((), 'rows')
  first: Part = fields.part(Part, rate=0.2)
  weights: Mapping[str, float] = fields.field({}, 'by name', least=0)
  train: Part | Mapping[str, Part] = fields.part(Part)

  def check(self, what):
    """Refuses what does not go together."""
    if self.size[0] > self.size[1]:
      raise errors.UserError(f'{what}.size={self.size}: h is over w')


def _whole(**values):
  return fields.from_dict(Whole, values)


@dataclasses.dataclass(frozen=True)
class Bus:
  """One of two parts."""

  name: str = fields.field('bus', 'which', choices=('bus',))
  seats: int = fields.field(40, 'how many', least=1)


@dataclasses.dataclass(frozen=True)
class Tram:
  """The other."""

  name: str = fields.field('tram', 'which', choices=('tram',))
  cars: int = fields.field(2, 'how many', least=1)


@dataclasses.dataclass(frozen=True)
class Line:
  """Has either."""

  vehicle: Bus | Tram = fields.part(Bus)


def test_parts_of_several_kinds_are_told_apart_by_their_name():
  read = lambda value: fields.from_dict(Line, {'vehicle': value}).vehicle
  assert fields.from_dict(Line, {}).vehicle == Bus()
  assert read({'seats': 7}) == Bus(seats=7)
  assert read({'name': 'tram', 'cars': 3}) == Tram(cars=3)
  assert read(Tram(cars=4)) == Tram(cars=4)
  assert fields.to_dict(Line(Tram()))['vehicle'] == {'name': 'tram', 'cars': 2}
  with pytest.raises(errors.UserError, match="vehicle.name='car'.*'bus', 'tr"):
    read({'name': 'car'})
  with pytest.raises(errors.UserError, match=r"vehicle.name=\['tram'\] must"):
    read({'name': ['tram']})
  with pytest.raises(errors.UserError, match='seats'):
    read({'name': 'tram', 'seats': 3})


def test_what_is_left_out_has_its_default():
  assert _whole() == Whole()
  assert _whole(first={'on': False}).first == Part(on=False, rate=0.1)
  assert Whole().first.rate == 0.2


def test_lists_become_tuples_and_whole_numbers_floats():
  whole = _whole(size=[3, 4], table=[['x', 1]], first={'rate': 0})
  assert whole.size == (3, 4)
  assert whole.table == (('x', 1.0),)
  assert isinstance(whole.table[0][1], float)
  assert isinstance(whole.first.rate, float)


def test_a_config_dict_made_of_it_can_have_every_field_overridden():
  config = ml_collections.ConfigDict(fields.to_dict(Whole()))
  config.update_from_flattened_dict({'first.rate': 0.5, 'steps': 3})
  whole = fields.from_dict(Whole, config)
  assert (whole.first.rate, whole.steps) == (0.5, 3)


def test_one_part_and_several_by_name_are_told_apart():
  assert _whole(train={'rate': 0.5}).train == Part(rate=0.5)
  assert _whole(train={}).train == Part()
  several = _whole(train={'a': {'rate': 0.5}, 'b': {}}).train
  assert several == {'a': Part(rate=0.5), 'b': Part()}
  assert _whole(train={'rate': {'on': False}}).train == {'rate': Part(False)}


@pytest.mark.parametrize(
    'values, words',
    [
        (dict(stesp=3), "config has no field 'stesp'; did you mean 'steps'?"),
        (dict(first=dict(on=1)), 'config.first.on=1 must be True or False'),
        (dict(steps=0), 'config.steps=0 must be 1 or more'),
        (dict(steps=True), 'config.steps=True must be a whole number'),
        (dict(steps=1.5), 'config.steps=1.5 must be a whole number'),
        (dict(steps='3'), "config.steps='3' must be a whole number"),
        (dict(steps=None), 'config.steps=None must be a whole number'),
        (dict(name='c'), "config.name='c' must be one of 'a', 'b'"),
        (dict(name=True), "config.name=True must be text, one of 'a', 'b'"),
        (
            dict(first=dict(rate=1)),
            'config.first.rate=1.0 must be 0 or more, l',
        ),
        (dict(first=dict(rate=float('nan'))), 'config.first.rate=nan must be'),
        (dict(first=dict(rate=10**400)), 'is too large'),
        (dict(first=3), 'config.first=3 must hold fields: on, rate'),
        (dict(size=(1, 2, 3)), 'config.size=(1, 2, 3) must be a tuple of 2'),
        (dict(size=('a', 'b')), "config.size=('a', 'b'): 'a' must be a whole"),
        (dict(size=(0, 1)), 'config.size=(0, 1): 0 must be 1 or more'),
        (dict(size=7), 'config.size=7 must be a tuple of 2'),
        (dict(size=(5, 4)), 'config.size=(5, 4): h is over w'),
        (dict(table=(('x',),)), 'must be a tuple of 2, (text, a number)'),
        (dict(weights=3), 'config.weights=3 must be fields by name'),
        (dict(weights={'x': -1}), 'config.weights.x=-1.0 must be 0 or more'),
        (dict(train={'a': {'rte': 1}}), "config.train.a has no field 'rte'"),
    ],
)
def test_what_is_wrong_is_named(values, words):
  with pytest.raises(errors.UserError) as error:
    _whole(**values)
  assert words in str(error.value)


def test_rows_show_every_field_once():
  rows = {row.name: row for row in fields.rows(Whole(), 'config.')}
  assert rows['config.first.rate'] == fields.Row(
      'config.first.rate', '0.2', '0 or more, less than 1', 'share'
  )
  assert rows['config.name'].range == "one of 'a', 'b'"
  assert len(rows) == 9
