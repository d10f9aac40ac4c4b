"""Check the built site: every link within it resolves, and every public name has its place.

The place of an attrs class shows each argument that it takes.

    python .ci/site.py build/site

A link that leads out of the site is not followed.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import attrs

import routera_async.otel
import routera_async.sandbox

ORIGIN = "https://site.example/"


class Page(HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what identifies a place, and what leads to one."""
        told = dict(attrs)
        self.anchors |= {told[name] or "" for name in ("id", "name") if name in told}
        link = told.get("href") if tag in {"a", "link"} else told.get("src")
        if link is not None:
            self.links.append(link)


def broken(site: Path) -> Iterator[str]:
    """Yield each link of the site that leads nowhere."""
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in pages.items():
        here = urljoin(ORIGIN, path.relative_to(site).as_posix())
        for link in page.links:
            place = urlsplit(urljoin(here, link))
            if f"{place.scheme}://{place.netloc}/" != ORIGIN:
                continue
            target = site / unquote(place.path).lstrip("/")
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{path}: {link} leads nowhere"
            elif target in pages and unquote(place.fragment) not in pages[target].anchors:
                yield f"{path}: {link}: there is no such place in {target}"


def unplaced(site: Path) -> Iterator[str]:
    """Yield each public name that the reference has no place for."""
    anchors = Page(site / "reference/index.html").anchors
    for module in (routera_async, routera_async.otel, routera_async.sandbox):
        for name in sorted(set(module.__all__) - {"__version__"}):
            if f"{module.__name__}.{name}" not in anchors:
                yield f"{module.__name__}.{name} has no place in the reference"


def untold(site: Path) -> Iterator[str]:
    """Yield each argument of a public attrs class that its place in the reference lacks."""
    told = (site / "reference/index.html").read_text("utf-8")
    for module in (routera_async, routera_async.otel, routera_async.sandbox):
        for name in module.__all__:
            found = getattr(module, name)
            if not attrs.has(found):
                continue
            place = told.partition(f'id="{module.__name__}.{name}"')[2].partition("</pre>")[0]
            words = set(re.findall(r"\w+", re.sub("<[^>]+>", "", place)))
            for field in attrs.fields(found):
                if field.init and field.alias not in words:
                    yield f"{module.__name__}.{name}: {field.alias} has no place in the reference"


def main(site: Path) -> int:
    """Print what is wrong, and return the exit status."""
    wrong = [*broken(site), *unplaced(site), *untold(site)]
    print("\n".join(wrong) or f"every link of {site} resolves, and every public name has its place")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
