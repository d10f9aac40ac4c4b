"""Show the signatures of attrs classes in the reference, as griffe does for dataclasses."""

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
    if not isinstance(field.value, ExprCall) or field.value.canonical_path != "attrs.field":
        return field.value
    told = keywords(field.value)
    return "..." if "factory" in told else told.get("default")


def parameters(found: Class) -> Iterator[Parameter]:
    """Yield the fields that a class itself declares, as its constructor's parameters."""
    whole = keywords(maker(found))
    for field in found.members.values():
        if not isinstance(field, Attribute) or field.annotation is None:
            continue
        told = keywords(field.value)
        constant = "instance-attribute" not in field.labels  # a ClassVar, or a property
        if constant or str(told.get("init")) == "False":
            continue
        by_name = "True" in {str(whole.get("kw_only")), str(told.get("kw_only"))}
        yield Parameter(
            field.name.lstrip("_"),
            annotation=field.annotation,
            kind=ParameterKind.keyword_only if by_name else ParameterKind.positional_or_keyword,
            default=default(field),
        )


class AttrsFields(Extension):
    """Gives each attrs class the constructor that attrs gives it."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Build it of the fields of the class and of those it inherits."""
        if maker(cls) is None or "__init__" in cls.members:
            return
        lineage = [each for each in (*reversed(cls.mro()), cls) if maker(each) is not None]
        found = {each.name: each for one in lineage for each in parameters(one)}
        ordered = sorted(found.values(), key=lambda each: each.kind is ParameterKind.keyword_only)
        init = Function("__init__", parameters=Parameters(*ordered), parent=cls)
        cls.set_member("__init__", init)
