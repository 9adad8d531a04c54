"""Programs that compare with what the official code computed.

`python tests/parity` runs them (`__main__.py` says how); tests import the
modules, as in `from parity import reference`.
"""
