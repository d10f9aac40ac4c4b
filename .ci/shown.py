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


class Shown(Extension):
    """Sets the constructors of attrs classes, and takes those of errors away."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Look at a class once its module is read."""
        if cls.name.endswith("Error"):  # nobody but this package raises it
            for name in ("__init__", "__reduce__"):
                cls.members.pop(name, None)
        elif maker(cls) is not None and "__init__" not in cls.members:
            construct(cls)


def construct(cls: Class) -> None:
    """Build an attrs class's constructor of its fields and of those it inherits."""
    lineage = [each for each in (*reversed(cls.mro()), cls) if maker(each) is not None]
    found = {each.name: each for one in lineage for each in parameters(one)}
    ordered = sorted(found.values(), key=lambda each: each.kind is ParameterKind.keyword_only)
    cls.set_member("__init__", Function("__init__", parameters=Parameters(*ordered), parent=cls))
    for field in filter(is_field, cls.members.values()):
        field.labels -= {"class-attribute", "instance-attribute"}
        field.value = None  # the constructor shows it
