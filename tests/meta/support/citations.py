"""What a text cites - facts, documents, requirements, links, paths - and whether that is in this repository."""

import posixpath
import re
import subprocess
from collections.abc import Mapping, Set
from dataclasses import dataclass

from support.places import ROOT

MARKS = ("measured", "source", "reported", "seed")  # of a fact: how it came to be known

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+")
_DOCUMENT = re.compile(r"(?<![\w/.-])(?P<path>(?:[\w.-]+/)*[\w.-]+\.md)\b(?:#(?P<anchor>[\w-]+))?")
_LINK = re.compile(r"\]\((?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_PATH = re.compile(r"`(?P<path>[\w.-]+(?:/[\w.-]+)*/?)`")
_HEADING = re.compile(r"#{1,6} +(.+)")
_OUTSIDE = {
    re.compile(r"\bFACTS(?:\.md|\s+sections?)\b"): "its facts are in docs/facts.md",
    re.compile(r"\b(?:DESIGN|ROADMAP)\b"): "its architecture is in ARCHITECTURE.md",
    re.compile(rf"(?<![\w/-])(?:\.\./)*shared/|{re.escape(str(ROOT))}\b"): "a reader has this repository alone",
}


@dataclass(frozen=True)
class Repository:
    """What may be cited: paths of files, the anchors of each Markdown file, requirement ids."""

    files: Set[str]
    anchors: Mapping[str, Set[str]]
    requirements: Set[str]

    def has(self, path):
        """Whether `path` is a file here, or a folder with files."""
        return path in self.files or any(file.startswith(f"{path}/") for file in self.files)


def texts():
    """Every file of the checkout by its path, new ones included, ignored ones not; what is no text cites nothing."""
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout.split("\0")
    paths = [ROOT / name for name in sorted(set(names)) if name]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8", "replace") for path in paths if path.is_file()}


def anchors_of(markdown):
    """The anchors that GitHub gives to the headings of a page."""
    found = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        if not fenced and (heading := _HEADING.fullmatch(line)):
            slug = re.sub(r"[^\w\- ]", "", heading[1].strip().lower()).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


def wrong_citations(path, text, repository):
    """`path:line: what is wrong` for everything that a file's text cites and that is not there."""
    rooms = {file.partition("/")[0] for file in repository.files if "/" in file}
    prefixes = "|".join(sorted({each.partition("-")[0] for each in repository.requirements}))
    requirement = re.compile(rf"\b(?:{prefixes})-\d+\b")
    for number, line in enumerate(text.splitlines(), 1):
        cited = _URL.sub(" ", line)
        problems = [
            f"{found[0]} is outside this repository: {advice}" for rule, advice in _OUTSIDE.items() if (found := rule.search(cited))
        ]
        problems += [f"no requirement {each}" for each in requirement.findall(cited) if each not in repository.requirements]
        problems += _documents(path, cited, repository)
        problems += [
            f"no file or folder {found['path']}"
            for found in _PATH.finditer(cited)
            if found["path"].partition("/")[0] in rooms and "/" in found["path"] and not repository.has(found["path"].rstrip("/"))
        ]
        if path.endswith(".md"):
            problems += _links(path, cited, repository)
        yield from (f"{path}:{number}: {problem}" for problem in dict.fromkeys(problems))


def _documents(path, line, repository):
    """Documents named in running text, from the root or the file's own folder. `summary.md` alone is any file, README.md a document."""
    for found in _DOCUMENT.finditer(line):
        target, anchor = found["path"], found["anchor"]
        if "/" not in target and anchor is None and not target[0].isupper():
            continue
        places = [_from(path, target), posixpath.normpath(target)]
        document = next((place for place in places if place in repository.files), None)
        if document is None:
            yield f"no document {target}"
        elif anchor and anchor not in repository.anchors[document]:
            yield f"{target} has no #{anchor}"


def _links(path, line, repository):
    """Links of a Markdown page, as GitHub follows them: from the page's folder."""
    for found in _LINK.finditer(line):
        target = _from(path, found["path"]) if found["path"] else path
        if not repository.has(target):
            yield f"no file for the link {found['path']}"
        elif found["anchor"] and found["anchor"] not in repository.anchors.get(target, ()):
            yield f"{target} has no #{found['anchor']}"


def _from(path, target):
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
