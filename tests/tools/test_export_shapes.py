"""The command that writes the embedded world to disk."""

import subprocess
import sys

import pytest


def _run(*flags):
  command = [sys.executable, '-m', 'glip_jax.tools.export_shapes', *flags]
  return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    'form, written',
    [
        ('coco', 'annotations.json'),
        ('mdetr', 'annotations.json'),
        ('tfds', 'shapes/*/*/dataset_info.json'),
    ],
)
def test_each_format_is_written_and_its_place_printed(tmp_path, form, written):
  done = _run(
      f'--out={tmp_path}', f'--format={form}', '--num_images=2', '--split=val'
  )
  assert done.returncode == 0, done.stderr
  (path,) = tmp_path.glob(written)
  place = done.stdout.strip().splitlines()[-1]
  assert str(path).startswith(place)


def test_bad_input_ends_in_one_line_and_status_1(tmp_path):
  done = _run(f'--out={tmp_path}', '--num_images=0')
  assert done.returncode == 1
  assert done.stderr == 'error: num_images=0: use 1 or more\n'
