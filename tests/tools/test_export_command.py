"""The command that exports refuses what cannot be, in one line."""

import pytest
from absl import flags

from glip_jax.errors import UserError
from glip_jax.tools import export as tool

pytest.importorskip('flatbuffers', reason='flatbuffers: glip_jax[export]')


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((), '--out is missing'),
        (('--out=a.zip',), 'give one of --weights and --workdir'),
        (('--out=a.zip', '--weights=x'), 'give one of --prompt and --prompts'),
        (
            ('--out=a.zip', '--weights=x', '--prompt=a', '--open'),
            'give one of --prompt',
        ),
        (('--out=a.npz', '--weights=x', '--open'), 'let it end in .zip'),
        (
            ('--out=a.zip', '--weights=x', '--open', '--canvas=100x100'),
            '--canvas=100x100: .*multiples of 32',
        ),
        (('--out=a.zip', '--open', '--canvas=64'), '--canvas=64 is no size'),
        (
            ('--out=a.zip', '--weights=x', '--open', '--platforms=gpu'),
            r"--platforms: \['gpu'\] cannot be: give some of cpu, cuda, tpu",
        ),
        (
            ('--out=a.zip', '--weights=x', '--open', '--weights_out=a.zip'),
            'are both a.zip',
        ),
        (
            ('--out=a.zip', '--weights=x', '--open', '--chunk_names=4'),
            '--chunk_names=4 has no meaning with --open',
        ),
        (
            ('--out=a.zip', '--workdir=.', '--variant=T', '--open'),
            '--variant=T says nothing of --workdir',
        ),
    ],
)
def test_what_cannot_be_is_refused_before_work_starts(
    tmp_path, monkeypatch, arguments, message
):
  monkeypatch.chdir(tmp_path)
  values = flags.FlagValues()
  tool.define_flags(values)
  values(['export', *arguments])
  with pytest.raises(UserError, match=message):
    tool.export(values)
  assert not list(tmp_path.iterdir())
