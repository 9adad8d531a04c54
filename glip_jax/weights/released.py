"""The released weights by name, and fetching them for who asks.

They lie in a repository of the Hugging Face hub, whose own package fetches
them into its own cache: what broke off goes on where it stopped, and
HF_HUB_OFFLINE, HF_HUB_CACHE and HF_ENDPOINT mean what they mean elsewhere.
Nothing is fetched at import or by any test.
"""

import dataclasses
import pathlib

import huggingface_hub
from huggingface_hub import constants

from glip_jax import errors

REPOSITORY = 'GLIPModel/GLIP'


@dataclasses.dataclass(frozen=True)
class Released:
  """A released file.

  Attributes:
    variant: letter of the model that its weights are of.
    file: its name in the repository.
  """

  variant: str
  file: str


RELEASED = {
    'glip_t_a': Released('A', 'glip_a_tiny_o365.pth'),
    'glip_t_b': Released('B', 'glip_tiny_model_o365.pth'),
    'glip_t_c': Released('C', 'glip_tiny_model_o365_goldg.pth'),
    'glip_t': Released('T', 'glip_tiny_model_o365_goldg_cc_sbu.pth'),
    'glip_l': Released('L', 'glip_large_model.pth'),
}


def variant_of(name: str) -> str | None:
  """The variant of a released name, or of a file that has a released name."""
  if name in RELEASED:
    return RELEASED[name].variant
  file = pathlib.PurePath(name).name
  return next((r.variant for r in RELEASED.values() if r.file == file), None)


def fetch(name: str) -> pathlib.Path:
  """The file of a released model: from the hub's cache, or fetched into it.

  Args:
    name: a key of `RELEASED`.

  Returns:
    Path of the whole file.

  Raises:
    UserError: the name is unknown, or the file is not in the cache and cannot
      be fetched (the message says what to put where).
  """
  if name not in RELEASED:
    raise errors.UserError(
        f'{name!r} is no released model: choose one of {sorted(RELEASED)}, or'
        ' give the path of a file'
    )
  file = RELEASED[name].file
  try:
    return pathlib.Path(huggingface_hub.hf_hub_download(REPOSITORY, file))
  # Whatever stands in the way: the hub's, its HTTP library's, the disk's.
  except Exception as error:
    cause = error.__cause__ or error  # The hub's own only says: not cached.
    reason = ' '.join(f'{type(cause).__name__}: {cause}'.split())
    url = huggingface_hub.hf_hub_url(REPOSITORY, file)
    raise errors.UserError(
        f'{name} cannot be fetched ({reason:.200}): ask again where there is a'
        f' network, or fetch {url} elsewhere and give the path of the file'
        f" (--weights={file}), or copy the hub's cache of a machine that has"
        f' it to {constants.HF_HUB_CACHE}'
    ) from error
