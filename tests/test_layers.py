"""Who may import whom (docs/architecture.md), read from the sources."""

import ast
import functools
import graphlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = 'glip_jax'

# Importer -> what it may import of this package. The longest matching row
# counts; a package stands for all its modules. Everyone may also import
# `errors` and modules of the same package.
ALLOWED = {
    'errors': (),
    'types': (),
    'fields': (),
    'interrupting': (),
    'storage': (),
    'folder_lock': (),
    'configuring': ('interrupting', 'storage'),
    'draw_fonts': (),
    'draw_labels': ('draw_fonts',),
    'draw_curves': (),
    'draw': ('draw_labels', 'types', 'text'),
    'ops': ('types', 'fields'),
    'models': ('types', 'ops'),
    'detectors': ('types', 'detectors', 'fields'),
    'detectors.base': ('types',),
    'detectors.class_tokens': ('types', 'detectors', 'ops'),
    'detectors.parts': ('fields', 'models', 'ops'),
    'detectors.glip': (
        'detectors.base',
        'detectors.parts',
        'types',
        'ops',
        'models',
        'weights',
        'fields',
    ),
    'detectors.grounding_dino': (
        'detectors.base',
        'detectors.parts',
        'types',
        'ops',
        'models',
        'weights',
        'fields',
    ),
    'detectors.query': (
        'detectors.base',
        'detectors.parts',
        'types',
        'ops',
        'models',
        'fields',
    ),
    'text': ('types',),
    'data': ('types', 'text', 'fields'),
    'data.packing': ('data', 'folder_lock'),
    'data.sources': ('types', 'text', 'data', 'fields'),
    'data.sources.table': ('types', 'text', 'data', 'shapes', 'fields'),
    'shapes': ('types', 'text', 'data'),
    'evaluators': ('types', 'text', 'data', 'fields', 'storage'),
    'report': ('data', 'evaluators', 'storage'),
    'evaluators.sheets': ('types', 'data', 'draw', 'evaluators'),
    'training': ('types', 'fields', 'storage'),
    'training.workdir_lock': ('training', 'folder_lock'),
    'training.optimizer': ('training', 'configuring', 'fields'),
    'weights': (),
    'text_store': ('types', 'storage'),
    'serving_programs': ('types', 'detectors', 'training'),
    'serving': (
        'serving_programs',
        'types',
        'detectors',
        'training',
        'text_store',
    ),
    'run': ('fields', 'data', 'detectors', 'evaluators', 'ops', 'training'),
    'image_files': ('storage',),
    'draw_prompt': ('draw_fonts', 'draw_labels', 'text'),
    'found_forms': ('text',),
    'found': (
        'draw',
        'draw_prompt',
        'found_forms',
        'image_files',
        'storage',
        'data',
        'text',
    ),
    'choosing': (),
    'prompting': ('types', 'text', 'data', 'evaluators.chunked'),
    'draw_heat': ('draw_labels',),
    'regions': ('draw_heat', 'looking', 'types', 'data', 'text'),
    'looking': ('prompting', 'types', 'text', 'data', 'evaluators.unpack'),
    'predicting': (
        'choosing',
        'found',
        'looking',
        'prompting',
        'regions',
        'run',
        'serving',
        'data',
        'detectors',
        'training',
    ),
    'evaluating': (
        'data.sources',
        'detectors',
        'evaluators',
        'loading',
        'run',
        'serving',
        'storage',
        'text',
        'training',
        'weights',
    ),
    'exporting': (
        'predicting',
        'prompting',
        'types',
        'text',
        'data',
        'detectors',
        'training',
        'fields',
        'storage',
    ),
    'loading': (
        'choosing',
        'configuring',
        'predicting',
        'run',
        'data',
        'text',
        'training',
        'weights',
    ),
    'predict': (
        'interrupting',
        'storage',
        'found',
        'image_files',
        'loading',
        'predicting',
        'prompting',
        'configuring',
        'run',
        'text',
        'data',
        'training',
        'draw',
    ),
    'tools': ('',),
}
# Whole packages of others that a part must do without.
FORBIDDEN = {
    'errors': ('jax', 'flax', 'ml_collections'),
    'types': ('jax', 'ml_collections'),
    'draw': ('jax', 'flax', 'ml_collections'),
    'ops': ('flax', 'ml_collections', 'grain'),
    'models': ('optax', 'grain', 'orbax'),
    'detectors': ('optax', 'grain', 'orbax'),
    'shapes': ('jax', 'flax', 'optax'),
    'text': ('jax', 'flax', 'ml_collections'),
    'data': ('jax', 'flax', 'optax'),
    'evaluators': ('jax', 'flax', 'optax'),
    'report': ('jax', 'flax', 'optax'),
    'weights': ('flax', 'ml_collections'),
}
# ConfigDict stops here: below, plain typed arguments.
CONFIG_READERS = (
    'configuring',
    'evaluating',
    'data.pipeline',
    'data.settings',
    'data.sources',
    'run',
    'tools',
)
VAGUE = re.compile(r'(utils?|helpers?|common|misc)', re.IGNORECASE)


def _files(*folders):
  return sorted(
      path for folder in folders for path in (ROOT / folder).rglob('*.py')
  )


@functools.cache
def _tree(path):
  return ast.parse(path.read_text())


def _imports(path):
  """Dotted names that a file imports, anywhere in it."""
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def _name(path):
  """`glip_jax/data/coco.py` -> 'data.coco'."""
  parts = path.relative_to(ROOT / PACKAGE).with_suffix('').parts
  return '.'.join(part for part in parts if part != '__init__')


@functools.cache
def _modules():
  """Module name -> modules of this package that it imports."""
  names = {_name(path): path for path in _files(PACKAGE)}
  graph = {}
  for name, path in names.items():
    graph[name] = set()
    for target in _imports(path):
      if target.split('.')[0] != PACKAGE:
        continue
      target = target.removeprefix(PACKAGE).lstrip('.')
      # What was imported is a module, or something in one.
      while target and target not in names:
        target = target.rpartition('.')[0]
      graph[name].add(target)
  return graph


def _within(module, part):
  return not part or module == part or module.startswith(part + '.')


def _row(table, module):
  """The value of the longest part that a module is in, or None."""
  parts = [part for part in table if _within(module, part)]
  return table[max(parts, key=len)] if parts else None


def _libraries(path):
  return {target.split('.')[0] for target in _imports(path)}


def test_every_module_has_a_row_in_the_table():
  missing = [m for m in _modules() if m and _row(ALLOWED, m) is None]
  assert not missing, f'say in ALLOWED what {missing} may import'


def test_modules_import_only_what_their_layer_may():
  wrong = [
      f'{module} imports {target}'
      for module, targets in _modules().items()
      for target in targets
      if module
      and target
      and not any(
          _within(target, part)
          for part in (*_row(ALLOWED, module), 'errors', _package(module))
      )
  ]
  assert not wrong


def _package(module):
  """The package whose other modules a module may import: its own."""
  return module.rpartition('.')[0] or module


def test_only_predicting_and_tools_put_models_together():
  users = {m for m, found in _modules().items() if 'detectors.recipe' in found}
  own = {
      'evaluating',
      'predicting',
      'run',
      'serving',
      'serving_programs',
  }
  assert all(m in own or _within(m, 'tools') for m in users)


def test_nothing_but_the_table_and_its_own_folder_names_a_family():
  table = 'detectors.recipe'
  families = {
      path.name
      for path in (ROOT / PACKAGE / 'detectors').iterdir()
      if (path / '__init__.py').exists()
  }
  assert 'glip' in families
  for family in families:
    own = f'detectors.{family}'
    outside = {
        module
        for module, targets in _modules().items()
        if not _within(module, own) and any(_within(t, own) for t in targets)
    }
    assert outside == {table}


def test_no_module_imports_itself_through_others():
  graphlib.TopologicalSorter(_modules()).prepare()


@pytest.mark.parametrize('part', FORBIDDEN)
def test_a_part_does_without(part):
  wrong = [
      f'{_name(path)} imports {library}'
      for path in _files(PACKAGE)
      if _within(_name(path), part)
      for library in _libraries(path) & set(FORBIDDEN[part])
  ]
  assert not wrong


def test_types_take_only_struct_from_flax():
  path = ROOT / PACKAGE / 'types.py'
  flax = {t for t in _imports(path) if t.startswith('flax')}
  assert flax == {'flax.struct'}


def test_config_dicts_stop_where_things_are_built():
  readers = {
      _name(path)
      for path in _files(PACKAGE)
      if 'ml_collections' in _libraries(path)
  }
  outside = {
      r for r in readers if not any(_within(r, c) for c in CONFIG_READERS)
  }
  assert not outside


def test_nothing_needs_tensorflow_or_torch():
  for path in _files(PACKAGE, 'configs'):
    assert not _libraries(path) & {'tensorflow', 'torch', 'torchvision'}, path


def test_slow_packages_are_imported_where_they_are_used():
  # These take seconds; a module that is nothing without one may import it.
  slow = {'tensorflow_datasets', 'transformers'}
  for path in _files(PACKAGE):
    top = {
        alias.name
        for node in _tree(path).body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not top & slow or _name(path) in (
        'shapes.tfds',
        'data.tfds_names',
        'data.tfds_writing',
    ), path


def test_nothing_imports_configs_but_configs():
  for path in [*_files(PACKAGE), ROOT / 'train.py', ROOT / 'eval.py']:
    assert 'configs' not in _libraries(path), path


def test_configs_know_the_fields_and_the_variants_and_nothing_else():
  known = (
      'configs',
      'ml_collections',
      f'{PACKAGE}.errors',
      f'{PACKAGE}.run',
      f'{PACKAGE}.detectors.glip.config',
      f'{PACKAGE}.detectors.grounding_dino.config',
      f'{PACKAGE}.detectors.query.config',
  )
  for path in _files('configs'):
    for target in _imports(path):
      assert any(_within(target, name) for name in known), (path, target)


def test_no_file_is_named_for_nothing_in_particular():
  folders = (PACKAGE, 'configs', 'tests', 'benchmarks')
  vague = [path for path in _files(*folders) if VAGUE.fullmatch(path.stem)]
  assert not vague


@pytest.mark.parametrize(
    'path', _files(PACKAGE), ids=lambda path: _name(path) or PACKAGE
)
def test_what_is_public_says_what_it_is(path):
  silent = [] if ast.get_docstring(_tree(path)) else ['the module']
  silent += _silent(_tree(path))
  assert not silent, f'{path} has no docstring for {silent}'


def _silent(node, prefix=''):
  """Public functions, classes and methods without a docstring."""
  names = []
  for child in node.body:
    if not isinstance(child, (ast.FunctionDef, ast.ClassDef)):
      continue
    # `main` is described by its module; __call__, the like and properties,
    # where their name does not do, by their class.
    if child.name.startswith('_') or child.name == 'main':
      continue
    if not ast.get_docstring(child) and not _is_property(child):
      names.append(prefix + child.name)
    if isinstance(child, ast.ClassDef):
      names += _silent(child, f'{prefix}{child.name}.')
  return names


def _is_property(node):
  decorators = getattr(node, 'decorator_list', ())
  return any(getattr(d, 'id', '').endswith('property') for d in decorators)
