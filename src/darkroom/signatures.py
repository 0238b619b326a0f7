"""What a ``_target_`` accepts, read from its source without importing it.

Importing PyTorch takes seconds; reading one file takes milliseconds. So a misspelt key is refused before anything heavy
is loaded.
"""

import ast
import contextlib
import functools
import importlib.machinery
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from darkroom import annotations

# What takes any keyword in order to hand it to another, which knows them all.
PASSED_ON = {"darkroom.scaling.ray_trainer.RayTrainer": "pytorch_lightning.Trainer"}

# What the lab says of parameters of other packages, which say less than they refuse or are passed some by the lab.
_OPTIMIZER = {
    "params": "Supplied[object]",
    "lr": "Positive",
    "betas": "tuple[BelowOne, BelowOne]",
    "eps": "Positive",
    "weight_decay": "NotNegative",
    "momentum": "BelowOne",
    "alpha": "BelowOne",
}
_TRAINER = {
    "logger": "Supplied[object]",
    "callbacks": "Supplied[object]",
    "plugins": "Supplied[object]",
    "num_sanity_val_steps": "Supplied[object]",
    "limit_val_batches": "Supplied[object]",
    "use_distributed_sampler": "Supplied[object]",
    "enable_checkpointing": "Supplied[object]",
    "enable_progress_bar": "Supplied[object]",
    "enable_model_summary": "Supplied[object]",
    "num_nodes": "Count",
}


_DEEPEST = 16  # modules that a name is shown through, and bases that a class is looked for in


@dataclass(frozen=True)
class Parameter:
    """One constructor parameter: its annotation as source text (empty: none), and whether it is required."""

    annotation: str
    required: bool

    @property
    def supplied(self) -> bool:
        """Whether code passes it, so that no file may set it."""
        return annotations.supplied(self.annotation)


@dataclass(frozen=True)
class Signature:
    """The parameters of a callable; ``open`` when it also takes any other keyword."""

    parameters: dict[str, Parameter] = field(default_factory=dict)
    open: bool = False


class TargetError(LookupError):
    """The target names nothing that exists."""


@functools.cache
def signature(target: str) -> Signature:
    """Return what the class or function ``package.module.Name`` accepts.

    A callable whose source cannot be read (a compiled one, say) is reported as open.

    Raises:
        TargetError: no such module or name.
    """
    module, _, name = target.rpartition(".")
    if not module:
        raise TargetError(f"'{target}' has no module: write package.module.Name")
    read = _said(target, _accepted(module, name))
    if target in PASSED_ON:
        further = signature(PASSED_ON[target])
        return Signature(read.parameters | further.parameters, further.open)
    return read


def _said(target: str, read: Signature) -> Signature:
    """Return a signature with the lab's own annotations of another package's parameters."""
    ours = (
        _OPTIMIZER if target.startswith("torch.optim.") else _TRAINER if target == "pytorch_lightning.Trainer" else {}
    )
    return Signature(
        {name: replace(each, annotation=ours.get(name, each.annotation)) for name, each in read.parameters.items()},
        read.open,
    )


def attribute(target: str, name: str) -> object:
    """Return what a class ``package.module.Class``, or a base of it, says in its body, ``name = <a plain value>``.

    None where nobody says anything, or no plain value.
    """
    said = _said_in_body(target, name)
    try:
        return None if said is None else ast.literal_eval(said[1])
    except ValueError:
        return None


def reference(target: str, name: str) -> str | None:
    """Return what a class, or a base of it, names in its body, ``name = Other``, as ``package.module.Other``."""
    said = _said_in_body(target, name)
    if said is None or not isinstance(said[1], ast.Name):
        return None
    try:
        found = _definition(said[0], said[1].id)
    except TargetError:
        return None
    return f"{found.module}.{said[1].id}"


def _said_in_body(target: str, name: str) -> tuple[str, ast.expr] | None:
    """Return the value that a class, or the next base that says something, gives a name, and in which module."""
    for module, node in _ancestry(*target.rpartition(".")[::2]):
        for item in node.body:
            named = [each.id for each in _targets(item) if isinstance(each, ast.Name)]
            if name in named and isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
                return module, item.value
    return None


@functools.cache
def members(target: str) -> frozenset[str]:
    """Return what the class ``package.module.Class`` defines, and its bases: methods, properties, what it sets.

    What stands in compiled code, or nowhere, defines nothing.
    """
    return frozenset().union(*(_defined(node) for _, node in _ancestry(*target.rpartition(".")[::2])))


def _ancestry(module: str, name: str, depth: int = 0) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield a class and all its bases, nearest first, each with the module that it stands in."""
    try:
        found = _definition(module, name)
    except TargetError:
        return
    if isinstance(found.node, ast.ClassDef) and depth <= _DEEPEST:
        yield found.module, found.node
        for base in found.node.bases:
            if isinstance(base, ast.Name):
                yield from _ancestry(found.module, base.id, depth + 1)


def _defined(node: ast.ClassDef) -> set[str]:
    """Return the methods of a class, and what it assigns in its body or, to itself, in its constructor."""
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    constructor = ast.walk(methods["__init__"]) if "__init__" in methods else ()
    return {
        *methods,
        *(target.id for item in node.body for target in _targets(item) if isinstance(target, ast.Name)),
        *(target.attr for item in constructor for target in _targets(item) if isinstance(target, ast.Attribute)),
    }


def _targets(node: ast.AST) -> list[ast.expr]:
    """Return what a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]


@functools.cache
def defining_module(target: str) -> str | None:
    """Return the module whose source defines the class ``package.module.Name``, wherever it is shown; else None.

    A name that is assigned is taken for one of the module itself, and what is compiled for a class.
    """
    module, _, name = target.rpartition(".")
    try:
        found = _definition(module, name)
    except TargetError:
        return None
    return None if isinstance(found.node, ast.FunctionDef | ast.AsyncFunctionDef) else found.module


@dataclass(frozen=True)
class _Definition:
    """The statement that defines a name, and in which module; None where that is compiled."""

    module: str
    node: ast.stmt | None


def _definition(module: str, name: str, depth: int = 0) -> _Definition:
    """Return where a name that a module shows is defined, through all imports.

    Raises:
        TargetError: nowhere.
    """
    located = _source(module) if module else None
    if located is None:
        raise TargetError(f"there is no module '{module}'")
    path, package = located
    tree = _tree(path)
    if tree is None:
        return _Definition(module, None)
    if depth > _DEEPEST:
        raise TargetError(f"'{module}' imports '{name}' in a circle")
    for node in reversed(_statements(tree.body)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return _Definition(module, node)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return _Definition(module, node)
        if isinstance(node, ast.ImportFrom):
            source = _absolute(node, module, package)
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _definition(source, alias.name, depth + 1)
                if alias.name == "*":
                    with contextlib.suppress(TargetError):
                        return _definition(source, name, depth + 1)
    if package and _source(f"{module}.{name}") is not None:
        raise TargetError(f"'{module}.{name}' is a module: name a class or function in it")
    raise TargetError(f"'{module}' defines no '{name}'")


@functools.cache
def _source(module: str) -> tuple[Path, bool] | None:
    """Return the source file of a module and whether it is a package, without importing parents.

    A folder without an ``__init__.py`` is a package too, and its own file.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(part, list(spec.submodule_search_locations))
    if spec is None:
        return None
    places = spec.submodule_search_locations
    if spec.origin is None:
        return (Path(next(iter(places))), True) if places else None
    return Path(spec.origin), places is not None


@functools.cache
def _tree(path: Path) -> ast.Module | None:
    return ast.parse(path.read_text(encoding="utf-8")) if path.suffix == ".py" else None


def _accepted(module: str, name: str, depth: int = 0) -> Signature:
    """Return what a class or function that a module shows accepts."""
    found = _definition(module, name)
    if isinstance(found.node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _read(found.node.args, bound=False)
    if isinstance(found.node, ast.ClassDef) and depth <= _DEEPEST:
        return _constructor(found.node, found.module, depth)
    return Signature(open=True)


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return top-level statements, those under ``if`` and ``try`` included."""
    found: list[ast.stmt] = []
    for node in body:
        found.append(node)
        if isinstance(node, ast.If):
            found += _statements(node.body) + _statements(node.orelse)
        elif isinstance(node, ast.Try):
            found += _statements(node.body)
    return found


def _absolute(node: ast.ImportFrom, module: str, package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (1 if package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def _constructor(node: ast.ClassDef, module: str, depth: int) -> Signature:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name in ("__init__", "__new__"):
            return _read(item.args, bound=True)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        inherited = [_accepted(module, base.id, depth + 1) for base in node.bases if isinstance(base, ast.Name)]
        fields = {
            item.target.id: Parameter(ast.unparse(item.annotation), item.value is None)
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        return Signature({name: each for base in inherited for name, each in base.parameters.items()} | fields)
    for base in node.bases:
        if isinstance(base, ast.Name):
            return _accepted(module, base.id, depth + 1)
    return Signature(open=bool(node.bases))


def _read(arguments: ast.arguments, bound: bool) -> Signature:
    positional = [*arguments.posonlyargs, *arguments.args][1 if bound else 0 :]
    first_default = len(positional) - len(arguments.defaults)
    parameters = {
        argument.arg: Parameter(_annotation(argument), index < first_default)
        for index, argument in enumerate(positional)
    }
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters[argument.arg] = Parameter(_annotation(argument), default is None)
    return Signature(parameters, open=arguments.kwarg is not None)


def _annotation(argument: ast.arg) -> str:
    return ast.unparse(argument.annotation) if argument.annotation else ""
