"""Agreement with the reference, and what padding and bfloat16 change.

    python tests/parity                           # all thirteen models
    python tests/parity nanoB gd_full --all       # these, every stage
    python tests/parity L --skip=double,gradients
    python tests/parity padding alone A B L       # images in one batch
    python tests/parity padding draws nanoB       # 200 random draws
    python tests/parity precision nanoA L         # what bfloat16 keeps

`--help` behind `padding`, `precision` or nothing lists the options. Models are
nanoA nanoB nanoC nanoL A B C L of GLIP, and of Grounding DINO, which the first
three lines take alone, gd_nano mm_nano mms_nano gd_full mm_full. The exit
status is 1 where something is not within target. docs/parity.md says what is
compared.
"""

import pathlib
import sys

_TESTS = pathlib.Path(__file__).resolve().parents[1]
# A folder that is run is all that Python would look in.
sys.path[:1] = [str(_TESTS), str(_TESTS.parent)]

from parity import compare, padding, precision  # noqa: E402

_COMMANDS = {'padding': padding.main, 'precision': precision.main}


def main(arguments: list[str]) -> int:
  """Runs the program that the first word names, or the comparison."""
  if arguments and arguments[0] in _COMMANDS:
    return _COMMANDS[arguments[0]](arguments[1:])
  return compare.main(arguments)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
