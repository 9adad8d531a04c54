"""The released weights by name, and fetching them for who asks.

They lie in repositories of the Hugging Face hub, whose own package fetches
them into its own cache: what broke off goes on where it stopped, and
HF_HUB_OFFLINE, HF_HUB_CACHE and HF_ENDPOINT mean what they mean elsewhere.
Nothing is fetched at import or by any test.
"""

import dataclasses
import pathlib

import huggingface_hub
from huggingface_hub import constants

from glip_jax import errors

_GLIP = 'GLIPModel/GLIP'
_DINO = 'IDEA-Research/grounding-dino-'
_MM = 'openmmlab-community/mm_grounding_dino_'
_LLMDET = 'iSEE-Laboratory/llmdet_'


@dataclasses.dataclass(frozen=True)
class Released:
  """A released file.

  Attributes:
    variant: name of the model that its weights are of.
    repository: that it lies in.
    file: its name there.
  """

  variant: str
  repository: str
  file: str = 'model.safetensors'


# Of a size without more in its name: the one of most data.
RELEASED = {
    'glip_t_a': Released('A', _GLIP, 'glip_a_tiny_o365.pth'),
    'glip_t_b': Released('B', _GLIP, 'glip_tiny_model_o365.pth'),
    'glip_t_c': Released('C', _GLIP, 'glip_tiny_model_o365_goldg.pth'),
    'glip_t': Released('T', _GLIP, 'glip_tiny_model_o365_goldg_cc_sbu.pth'),
    'glip_l': Released('L', _GLIP, 'glip_large_model.pth'),
    'grounding_dino_t': Released('grounding_dino_T', _DINO + 'tiny'),
    'grounding_dino_b': Released('grounding_dino_B', _DINO + 'base'),
    'mm_grounding_dino_t': Released(
        'mm_grounding_dino_T', _MM + 'tiny_o365v1_goldg_grit_v3det'
    ),
    'mm_grounding_dino_b': Released('mm_grounding_dino_B', _MM + 'base_all'),
    'mm_grounding_dino_l': Released('mm_grounding_dino_L', _MM + 'large_all'),
    'mm_grounding_dino_tiny_o365v1_goldg': Released(
        'mm_grounding_dino_T', _MM + 'tiny_o365v1_goldg'
    ),
    'mm_grounding_dino_tiny_o365v1_goldg_grit': Released(
        'mm_grounding_dino_T', _MM + 'tiny_o365v1_goldg_grit'
    ),
    'mm_grounding_dino_tiny_o365v1_goldg_v3det': Released(
        'mm_grounding_dino_T', _MM + 'tiny_o365v1_goldg_v3det'
    ),
    'mm_grounding_dino_base_o365v1_goldg_v3det': Released(
        'mm_grounding_dino_B', _MM + 'base_o365v1_goldg_v3det'
    ),
    'mm_grounding_dino_large_o365v2_oiv6_goldg': Released(
        'mm_grounding_dino_L', _MM + 'large_o365v2_oiv6_goldg'
    ),
    'llmdet_t': Released('mm_grounding_dino_T', _LLMDET + 'tiny'),
    'llmdet_b': Released('mm_grounding_dino_B', _LLMDET + 'base'),
    'llmdet_l': Released('mm_grounding_dino_L', _LLMDET + 'large'),
}


def variant_of(name: str) -> str | None:
  """The variant of a released name, or of a file that has a released name."""
  if name in RELEASED:
    return RELEASED[name].variant
  file = pathlib.PurePath(name).name
  found = {row.variant for row in RELEASED.values() if row.file == file}
  # Many repositories call theirs `model.safetensors`.
  return found.pop() if len(found) == 1 else None


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
  row = RELEASED[name]
  try:
    path = huggingface_hub.hf_hub_download(row.repository, row.file)
  # Whatever stands in the way: the hub's, its HTTP library's, the disk's.
  except Exception as error:
    cause = error.__cause__ or error  # The hub's own only says: not cached.
    reason = ' '.join(f'{type(cause).__name__}: {cause}'.split())
    url = huggingface_hub.hf_hub_url(row.repository, row.file)
    raise errors.UserError(
        f'{name} cannot be fetched ({reason:.200}): ask again where there is a'
        f' network, or fetch {url} elsewhere and give the path of the file'
        f' (--weights={row.file}, of variant {row.variant}), or copy the'
        f" hub's cache of a machine that has it to {constants.HF_HUB_CACHE}"
    ) from error
  return pathlib.Path(path)
