"""Threads that decode wait for each other's memory."""

import threading

import pytest

from glip_jax.data import byte_budget


@pytest.mark.parametrize(
    'size, together', [(40, 2), (100, 1), (900, 1), (9, 6)]
)
def test_no_more_is_held_at_a_time(size, together):
  budget, lock = byte_budget.ByteBudget(100), threading.Lock()
  held, most, start = [0], [0], threading.Barrier(6)

  def work():
    start.wait()
    for _ in range(50):
      with budget.hold(size):
        with lock:
          held[0] += 1
          most[0] = max(most[0], held[0])
        with lock:
          held[0] -= 1

  threads = [threading.Thread(target=work) for _ in range(6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(10)
  assert not any(thread.is_alive() for thread in threads)
  assert 1 <= most[0] <= together


def test_what_an_error_held_is_given_back():
  budget = byte_budget.ByteBudget(10)
  for _ in range(3):
    with pytest.raises(OSError), budget.hold(10):
      raise OSError
  with budget.hold(10):
    pass
