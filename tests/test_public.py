"""What the package shows of itself."""

import ast
import inspect
import os
import subprocess
import sys
import types
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import get_type_hints

import attrs
import pytest

import routera_async

PUBLIC = [
    (name, getattr(routera_async, name)) for name in routera_async.__all__ if name != "__version__"
]


def members():
    """Return every public method and property of the public classes."""
    for _, value in PUBLIC:
        if inspect.isclass(value):
            for member in value.__mro__[:-1]:
                if member.__module__.startswith("routera_async"):
                    yield from (
                        (f"{member.__name__}.{attribute}", found)
                        for attribute, found in vars(member).items()
                        if not attribute.startswith("_")
                        and isinstance(found, types.FunctionType | classmethod | property)
                    )


def annotated():
    """Yield every public function, class and method that has annotations, `__init__` as well."""
    for name, value in PUBLIC:
        if inspect.isfunction(value) or inspect.isclass(value):
            yield name, value
        for kind in getattr(value, "__mro__", ()):
            if kind.__module__.startswith("routera_async"):
                for attribute, found in vars(kind).items():
                    function = found
                    for inside in ("__func__", "fget", "func"):  # of whatever decorates it
                        function = getattr(function, inside, function)
                    is_private = attribute.startswith("_") and not attribute.endswith("__")
                    if inspect.isfunction(function) and function.__annotations__ and not is_private:
                        yield f"{kind.__name__}.{attribute}", function


def test_all_is_all():
    """`__all__` names, in order, exactly what the package shows; nothing else is bound to it."""
    assert sorted(routera_async.__all__) == routera_async.__all__ == dir(routera_async)
    bound = {
        name
        for name, value in vars(routera_async).items()
        if not (name.startswith("_") or isinstance(value, types.ModuleType))
    }
    assert bound - {*routera_async.__all__} == {"TYPE_CHECKING", "import_module"}


def test_nothing_else_is_bound():
    """Whatever else the package holds is a module of its own."""
    for name, value in vars(routera_async).items():
        if isinstance(value, types.ModuleType) and name[0] != "@":  # pytest's, for its asserts
            assert value.__name__ == f"routera_async.{name}"


def test_a_type_checker_sees_what_python_loads():
    """What is imported for a type checker alone comes from where Python finds it."""
    (told,) = (
        node
        for node in ast.parse(Path(routera_async.__file__).read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    seen = {each.module: tuple(alias.name for alias in each.names) for each in told.body}
    assert seen == routera_async._HOMES


def test_a_name_that_is_not_there():
    """A wrong name is told as by any module, and so is one that only a submodule has."""
    for name in ("Tickets", "from_response", "_home"):
        with pytest.raises(AttributeError, match=f"'routera_async' has no attribute '{name}'"):
            getattr(routera_async, name)


def test_the_constructor_can_be_filled_by_a_framework():
    """What a client takes can be found out while a program runs, as dependency injection does."""
    told = get_type_hints(routera_async.RouteraClient.__init__)
    assert told["hooks"] == Iterable[routera_async.Hook]


@pytest.mark.parametrize(("name", "value"), dict(annotated()).items(), ids=dict(annotated()))
def test_types_are_told_while_a_program_runs(name, value):
    """Frameworks and tools find out all types, of what is loaded later as well."""
    assert get_type_hints(value).keys() >= value.__annotations__.keys(), name


def test_types_of_what_is_loaded_later():
    """The types that are told are those that the package has."""
    objects, client = routera_async.Objects, routera_async.RouteraClient
    assert get_type_hints(client.stats)["return"] is routera_async.Stats
    assert get_type_hints(client.routers.func)["return"] is routera_async.Routers
    assert get_type_hints(objects.create_many)["bulk"] == routera_async.Bulk | None
    assert get_type_hints(objects.reconcile)["return"] == list[routera_async.Verdict]
    assert get_type_hints(routera_async.Hook.__call__)["event"] == routera_async.Event


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a statement loads in a fresh process."""
    program = f"import sys; {statement}; print(*sys.modules)"
    unseen = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env=unseen
    )
    return set(ended.stdout.decode().split())


def test_what_is_not_used_is_not_loaded():
    """The package alone loads nothing, errors no client, and a client what a create needs."""
    assert not {"aiohttp", "attrs", "routera_async.errors"} & loaded_by("import routera_async")
    assert "typing" not in loaded_by("import routera_async") - loaded_by("pass")
    assert "aiohttp" not in loaded_by("from routera_async import RouteraError")
    client = loaded_by("from routera_async import NewTicket, RouteraClient; RouteraClient('a.b.c')")
    assert "routera_async.client" in client
    assert not {name for name in client if name.startswith("routera_async.bulk")}
    assert not {name for name in client if name.startswith("opentelemetry")}
    assert not {"sqlite3", "csv", "routera_async.importing", "routera_async.sandbox"} & client
    assert not {f"routera_async.{name}" for name in ("events", "routing", "stats", "_raw")} & client
    assert "tenacity" not in client


def test_modules_are_found_by_the_package():
    """A module that has public names can be used without an import of its own."""
    assert "aiohttp" in loaded_by("import routera_async as r; r.client.RouteraClient")


@pytest.mark.parametrize("module", ["errors", "bulk", "client"])
def test_a_module_with_public_names_is_found(module):
    """As an attribute of the package, loaded when it is asked for."""
    assert f"routera_async.{module}" in loaded_by(f"import routera_async; routera_async.{module}")


def test_errors_are_all_public():
    """Every error that a call can raise can be caught by a name of the package."""
    found = [
        name
        for name, kind in vars(routera_async.errors).items()
        if inspect.isclass(kind) and issubclass(kind, routera_async.RouteraError)
    ]
    assert set(found) <= set(routera_async.__all__)


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_a_public_name_is_explained(name, value):
    """Every public name has a docstring of its own, none that attrs or Python made."""
    if isinstance(value, types.UnionType):  # an alias: its parts are explained
        return
    assert value.__doc__
    assert not value.__doc__.startswith(("Method generated by attrs", f"{name}("))
    parent = value.__mro__[1] if inspect.isclass(value) else None
    assert parent is None or value.__doc__ != parent.__doc__


@pytest.mark.parametrize(("name", "member"), dict(members()).items(), ids=dict(members()))
def test_a_public_method_is_explained(name, member):
    """Every public method has a docstring."""
    function = member.__func__ if isinstance(member, classmethod) else member
    assert function.__doc__, name


def test_the_types_are_for_others_too():
    """A type checker is told that the package has types."""
    assert Path(routera_async.__file__).with_name("py.typed").is_file()


def test_the_version_is_the_distributions():
    """The version is the one that pip shows."""
    assert routera_async.__version__ == version("routera-async")


def test_values_are_frozen():
    """Every attrs class that is public is a value, but for the tally of an import under way."""
    values = [value for name, value in PUBLIC if name != "Summary"]
    kinds = [value for value in values if inspect.isclass(value) and attrs.has(value)]
    assert len(kinds) > 5
    for kind in kinds:
        assert kind.__setattr__ is not object.__setattr__, kind
