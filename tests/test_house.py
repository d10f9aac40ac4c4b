"""The shape of the house: which module may import which."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "routera_async"

EDGE = {"cli", "pytest_plugin", "__init__", "__main__"}
"""What stands above everything and may import anything below it."""

MAY_IMPORT = {
    "_version": set(),
    "errors": set(),
    "models": set(),
    "events": set(),
    "_hooks": {"errors"},
    "retries": {"errors"},
    "_retrying": {"errors", "retries"},
    "_shapes": {"models", "errors"},
    "_codec": {"_shapes", "models", "errors"},
    "stats": set(),
    "auth": {"errors"},
    "_budget": {"retries"},
    "_limits": set(),
    "_pool": {"_budget", "_limits", "errors", "retries", "stats"},
    "_evidence": {"_limits", "errors", "retries"},
    "_urls": {"errors"},
    "_options": {"errors", "retries"},
    "_listing": {"errors", "models"},
    "_how": {"_pool", "_urls", "_version", "auth"},
    "_telling": {"_evidence", "_hooks", "_options", "_urls", "errors", "events"},
    "_token_route": {"_evidence", "_how", "_pool", "_urls"},
    "_gate": {"_evidence", "_telling", "errors", "events"},
    "_session": {
        "_evidence",
        "_gate",
        "_hooks",
        "_how",
        "_options",
        "_pool",
        "_retrying",
        "_telling",
        "_token_route",
        "_urls",
        "auth",
        "errors",
        "retries",
        "stats",
    },
    "_answers": {"_codec", "_listing", "_session", "errors", "models", "retries"},
    "_raw": {"_codec", "_session", "_urls", "errors", "retries"},
    "_creating": {"errors"},
    "_verbs": {
        "_codec",
        "_creating",
        "_session",
        "_shapes",
        "bulk.engine",
        "models",
        "retries",
    },
    "routing": {"_answers", "_codec", "_listing", "_session", "_shapes", "models", "retries"},
    "resources": {
        "_answers",
        "_codec",
        "_creating",
        "_hooks",
        "_listing",
        "_session",
        "_shapes",
        "_verbs",
        "bulk.engine",
        "bulk.journal",
        "bulk.limiter",
        "bulk.many",
        "errors",
        "models",
        "retries",
    },
    "_inputs": {
        "_options",
        "_shapes",
        "bulk.journal",
        "bulk.many",
        "bulk.mapping",
        "bulk.readers",
        "errors",
        "models",
        "resources",
    },
    "importing": {
        "_codec",
        "_hooks",
        "_inputs",
        "_shapes",
        "bulk.books",
        "bulk.engine",
        "bulk.journal",
        "bulk.keys",
        "bulk.mapping",
        "bulk.readers",
        "bulk.report",
        "client",
        "errors",
        "events",
        "models",
        "resources",
    },
    "client": {
        "_hooks",
        "_options",
        "_raw",
        "_session",
        "auth",
        "errors",
        "models",
        "resources",
        "routing",
        "retries",
    },
    "otel": {"_version", "events"},
    "bulk.__init__": set(),
    "bulk.rows": {"errors"},
    "bulk.cells": {"errors"},
    "bulk.csv_rows": {"errors", "bulk.rows"},
    "bulk.jsonl_rows": {"errors", "bulk.rows"},
    "bulk.readers": {"errors", "bulk.rows", "bulk.csv_rows", "bulk.jsonl_rows"},
    "bulk.mapping": {"errors", "models", "bulk.cells"},
    "bulk.rate": {"errors"},
    "bulk.window": set(),
    "bulk.outage": {"events"},
    "bulk.write_ahead": set(),
    "bulk.journal_rows": set(),
    "bulk.journal_file": {"errors", "bulk.journal_rows", "bulk.write_ahead"},
    "bulk.journal": {"errors", "bulk.journal_file", "bulk.journal_rows"},
    "bulk.limiter": {"_hooks", "errors", "events", "bulk.rate", "bulk.window", "bulk.outage"},
    "bulk.report": {"errors", "bulk.readers"},
    "bulk.engine": {"errors", "events"},
    "bulk.keys": {"errors"},
    "bulk.books": {"bulk.engine", "bulk.journal", "bulk.keys", "bulk.rows", "errors"},
    "bulk.reconcile": {"errors"},
    "bulk.many": {
        "_hooks",
        "bulk.books",
        "bulk.engine",
        "bulk.journal",
        "bulk.limiter",
        "bulk.reconcile",
        "errors",
        "events",
    },
}
"""Imports point down only: each module, and all of ours that it may import."""

SENDING = {"_session", "_token_route", "_pool", "_evidence"}
"""What one exchange is made of."""


def modules():
    """Yield each module of the package, dotted, and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


def imports_of_ours(path: Path, module: str) -> set[str]:
    """Return the modules of the package that a file imports, dotted, without the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = ["routera_async", *module.split(".")[:-1]]
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            name = ".".join(filter(None, (base, node.module)))
            found |= {f"{name}.{alias.name}" for alias in node.names} | {name}
    ours = {name.removeprefix("routera_async.") for name in found if name.startswith("routera_")}
    known = {name for name, _ in modules()} | {"bulk", "cli", "sandbox"}
    return ours & known - {"routera_async"}


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value)[-40:])
def test_imports_point_down(module, path):
    """A module imports only what stands below it; the sandbox imports nothing else of ours."""
    imported = imports_of_ours(path, module)
    top = module.split(".")[0]
    if top in EDGE:
        return
    if top == "sandbox":
        assert all(name.split(".")[0] == "sandbox" for name in imported)
        return
    assert module in MAY_IMPORT, f"say in MAY_IMPORT what {module} may import"
    assert imported - {"bulk"} <= MAY_IMPORT[module]


def test_the_package_is_named_in_annotations_alone():
    """What stands above all modules is in the text of annotations, and nothing asks it for more."""
    for module, path in modules():
        if module.split(".")[0] not in EDGE:
            names = {
                node.id
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Name)
            }
            assert "routera_async" not in names, module


def test_only_the_session_sends():
    """No client file but _session names aiohttp's requests; the client only opens and closes."""
    for module, path in modules():
        if module.split(".")[0] in SENDING | {"sandbox", "cli", "client", "auth"}:
            continue
        assert "aiohttp" not in path.read_text(), module
