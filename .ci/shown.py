"""What the reference shows of a class: the constructor that attrs gives it, and none of an error.

`mkdocs.yml` names it as an extension of griffe, which does the former for dataclasses alone.
"""

from collections.abc import Iterator
from typing import Any

from griffe import (
    Attribute,
    Class,
    Expr,
    ExprCall,
    ExprKeyword,
    Extension,
    Function,
    Module,
    Parameter,
    ParameterKind,
    Parameters,
)

MAKERS = {"attrs.frozen", "attrs.define"}


def keywords(value: object) -> dict[str, Any]:
    """Return what a call is told by name."""
    told = value.arguments if isinstance(value, ExprCall) else ()
    return {each.name: each.value for each in told if isinstance(each, ExprKeyword)}


def maker(found: Class) -> str | Expr | None:
    """Return the decorator that makes it an attrs class."""
    return next((each.value for each in found.decorators if each.callable_path in MAKERS), None)


def default(field: Attribute) -> str | Expr | None:
    """Return what a field is unless it is given: `...` where that is made anew each time."""
    value = field.value
    if isinstance(value, ExprCall) and value.canonical_path == "attrs.field":
        value = "..." if "factory" in keywords(value) else keywords(value).get("default")
    made = isinstance(value, ExprCall) and value.canonical_path == "attrs.Factory"
    return "..." if made else value


def is_field(member: object) -> bool:
    """Tell a field from a method, a property and a ClassVar."""
    annotated = isinstance(member, Attribute) and member.annotation is not None
    return annotated and "instance-attribute" in member.labels


def parameters(found: Class) -> Iterator[Parameter]:
    """Yield the fields that a class itself declares, as its constructor's parameters."""
    whole = keywords(maker(found))
    for field in filter(is_field, found.members.values()):
        told = keywords(field.value)
        if str(told.get("init")) == "False":
            continue
        by_name = "True" in {str(whole.get("kw_only")), str(told.get("kw_only"))}
        yield Parameter(
            field.name.lstrip("_"),
            annotation=field.annotation,
            kind=ParameterKind.keyword_only if by_name else ParameterKind.positional_or_keyword,
            default=default(field),
        )


def classes(found: Module) -> Iterator[Class]:
    """Yield the classes of a module and of the modules below it."""
    for member in found.members.values():
        if isinstance(member, Class):
            yield member
        elif isinstance(member, Module):
            yield from classes(member)


def construct(found: Class) -> None:
    """Build an attrs class's constructor of its fields and of those it inherits."""
    lineage = [each for each in (*reversed(found.mro()), found) if maker(each) is not None]
    fields = {each.name: each for one in lineage for each in parameters(one)}
    ordered = sorted(fields.values(), key=lambda each: each.kind is ParameterKind.keyword_only)
    init = Function("__init__", parameters=Parameters(*ordered), parent=found)
    found.set_member("__init__", init)


class Shown(Extension):
    """Sets the constructors of attrs classes, and takes those of errors away."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Look at all classes, once each knows what it inherits from."""
        made = [each for each in classes(pkg) if maker(each) is not None]
        for each in made:
            if "__init__" not in each.members:
                construct(each)
        for field in [each for one in made for each in one.members.values() if is_field(each)]:
            field.labels -= {"class-attribute", "instance-attribute"}
            field.value = None  # the constructor shows it
        for each in classes(pkg):
            if each.name.endswith("Error"):  # nobody but this package raises it
                for name in ("__init__", "__reduce__"):
                    each.members.pop(name, None)
