"""Loading of lower-casing BERT WordPiece tokenizers.

Whatever a tokenizer is loaded from, it comes back without truncation and
padding: prompts.py decides on both, because a silently cut prompt loses
categories.
"""

import functools
import json
import os
import pathlib
from typing import TYPE_CHECKING

from glip_jax import errors

if TYPE_CHECKING:
  import tokenizers
  import transformers

SHAPES = 'shapes'
_SHAPES_VOCAB = pathlib.Path(__file__).with_name('shapes_vocab.txt')
_SPECIALS = {
    'pad_token': '[PAD]',
    'unk_token': '[UNK]',
    'cls_token': '[CLS]',
    'sep_token': '[SEP]',
    'mask_token': '[MASK]',
}


@functools.lru_cache(maxsize=16)
def load_tokenizer(name: str) -> 'transformers.PreTrainedTokenizerFast':
  """Loads a tokenizer, once per process and name.

  Sets two environment variables that are not set: TOKENIZERS_PARALLELISM off,
  for prompts are encoded one at a time and the thread pool dead-locks or warns
  in forked data workers, and no advice from transformers to install PyTorch.

  Args:
    name: 'shapes' (the small vocabulary that comes with the package), the path
      of a WordPiece `vocab.txt` (one piece per line, lower-cased), the path of
      a `tokenizer.json`, a folder that holds one of the two, a file of weights
      that `tools.convert` wrote, or the name of a tokenizer on the Hugging Face
      hub, such as 'bert-base-uncased'.

  Returns:
    A tokenizer with [PAD], [UNK], [CLS] and [SEP], without truncation.

  Raises:
    UserError: there is no such file, the file is no vocabulary, or the hub
      cannot be reached and holds no cached copy.
  """
  os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
  os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')
  if name == SHAPES:
    return _from_file(_SHAPES_VOCAB)
  path = _path(name)
  if os.path.isdir(path):
    path = _file_in_folder(path)
  errors.check_file('tokenizer', path)
  if os.path.isfile(path):
    return _from_file(path)
  if _is_path(name):
    raise errors.UserError(
        f'tokenizer={name!r} does not exist: pass an existing vocab.txt,'
        f" tokenizer.json or folder, a hub name, or '{SHAPES}'"
    )
  return _from_hub(name)


def is_here(name: str) -> bool:
  """Whether `load_tokenizer` needs no network for a name, or refuses it."""
  here = name == SHAPES or _is_path(name) or os.path.exists(_path(name))
  return here or _cached(name) is not None


def _path(name: str) -> pathlib.Path:
  return pathlib.Path(os.path.expanduser(name))


def _is_path(name: str) -> bool:
  """Whether a name can only be meant as a path."""
  return name.endswith(('.txt', '.json')) or name.startswith(('/', '.', '~'))


def _cached(name: str) -> str | None:
  """The file of a name of the hub in its cache, if it is there."""
  import huggingface_hub

  try:
    path = huggingface_hub.try_to_load_from_cache(name, 'tokenizer.json')
  except (OSError, ValueError):  # It is no name of the hub.
    return None
  return path if isinstance(path, str) else None


def _file_in_folder(folder: pathlib.Path) -> pathlib.Path:
  """Returns the tokenizer file of a folder."""
  for name in ('tokenizer.json', 'vocab.txt'):
    if (folder / name).is_file():
      return folder / name
  raise errors.UserError(
      f"tokenizer='{folder}' holds neither tokenizer.json nor vocab.txt: pass"
      ' a folder with one of them, or the file itself'
  )


def _from_file(path: pathlib.Path) -> 'transformers.PreTrainedTokenizerFast':
  """Reads a tokenizer.json, or a vocab.txt if it does not end in .json."""
  if path.suffix == '.safetensors':
    return _wrap(_parse_json(_text_of_weights(path), path), path)
  try:
    text = path.read_text(encoding='utf-8-sig')
  except UnicodeDecodeError as error:
    raise errors.UserError(
        f"tokenizer='{path}' is not UTF-8 text: pass a vocab.txt with one"
        ' piece per line, or a tokenizer.json'
    ) from error
  if path.suffix == '.json':
    backend = _parse_json(text, path)
  else:
    backend = _build_word_piece(_parse_vocab(text, path))
  return _wrap(backend, path)


def _text_of_weights(path: pathlib.Path) -> str:
  """The tokenizer.json in the header of a file of weights that we wrote."""
  try:
    with open(path, 'rb') as file:
      header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
    return header['__metadata__']['tokenizer.json']
  except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
    raise errors.UserError(
        f"tokenizer='{path}' holds no tokenizer: pass a vocab.txt, a"
        ' tokenizer.json, or weights that were converted with theirs'
    ) from error


def _parse_json(text: str, path: pathlib.Path) -> 'tokenizers.Tokenizer':
  """Reads the serialisation of the tokenizers library."""
  import tokenizers

  try:
    return tokenizers.Tokenizer.from_str(text)
  except Exception as error:  # The library raises nothing more specific.
    raise errors.UserError(
        f"tokenizer='{path}' is not a tokenizer.json ({error}): pass the file"
        ' that transformers writes with save_pretrained'
    ) from error


def _parse_vocab(text: str, path: pathlib.Path) -> dict[str, int]:
  """Reads one piece per line; the line number, from 0, is the id."""
  pieces = text.rstrip('\n').split('\n')
  vocab = {piece: index for index, piece in enumerate(pieces)}
  missing = [piece for piece in _SPECIALS.values() if piece not in vocab]
  if missing:
    raise errors.UserError(
        f"tokenizer='{path}' has no line {missing[0]!r}: pass a WordPiece"
        ' vocab.txt, one piece per line, as BERT has it'
    )
  if len(vocab) != len(pieces):
    raise errors.UserError(
        f"tokenizer='{path}' has {len(pieces) - len(vocab)} repeated lines:"
        ' every piece must stand once, for its line is its id'
    )
  return vocab


def _build_word_piece(vocab: dict[str, int]) -> 'tokenizers.Tokenizer':
  """Puts together what BERT base uncased does to a text.

  By hand, because the constructors of transformers took the vocabulary under
  another keyword in each major version and ignore the one they do not know.
  """
  from tokenizers import (
      Tokenizer,
      decoders,
      models,
      normalizers,
      pre_tokenizers,
      processors,
  )

  tokenizer = Tokenizer(models.WordPiece(vocab, unk_token='[UNK]'))
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.post_processor = processors.TemplateProcessing(
      single='[CLS] $A [SEP]',
      special_tokens=[(piece, vocab[piece]) for piece in ('[CLS]', '[SEP]')],
  )
  tokenizer.decoder = decoders.WordPiece()
  return tokenizer


def _wrap(
    backend: 'tokenizers.Tokenizer', path: pathlib.Path
) -> 'transformers.PreTrainedTokenizerFast':
  """Makes a transformers tokenizer that neither truncates nor pads."""
  import transformers

  for piece in _SPECIALS.values():
    if backend.token_to_id(piece) is None:
      raise errors.UserError(
          f"tokenizer='{path}' has no {piece} token: pass a tokenizer of the"
          ' BERT family'
      )
  # Files of sentence encoders have both baked in, often at 128 tokens.
  backend.no_truncation()
  backend.no_padding()
  return transformers.PreTrainedTokenizerFast(
      tokenizer_object=backend, **_SPECIALS
  )


def _from_hub(name: str) -> 'transformers.PreTrainedTokenizerFast':
  """Downloads the tokenizer.json of a repository, or takes the cached one."""
  import huggingface_hub

  try:
    # The cache first: offline, the library retries for half a minute.
    path = _cached(name)
    if path is None:
      path = huggingface_hub.hf_hub_download(name, 'tokenizer.json')
  except Exception as error:  # Each version of the library has its own kinds.
    reason = ' '.join(str(error).split())[:120]
    raise errors.UserError(
        f'tokenizer={name!r} is neither a file nor available from the hub'
        f' ({reason}): pass the path of its vocab.txt or tokenizer.json, or'
        f" '{SHAPES}'"
    ) from error
  return _from_file(pathlib.Path(path))
