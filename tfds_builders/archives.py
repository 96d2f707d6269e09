"""Archives that still lie among the files of a dataset, and the commands that unpack them."""

import re
import shlex
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

_ARCHIVE = re.compile(
    r"(?P<name>.+(?P<kind>\.(zip|7z|rar|tar|tgz|tar\.(gz|bz2|xz))))(\.(?P<part>\d{3}))?",
    re.IGNORECASE,
)
_TAR = re.compile(r"\.(tar|tgz|tar\.\w+|gz|bz2|xz)$", re.IGNORECASE)
_ENCRYPTED = 1  # the first of a zip member's flags
_LOCAL_HEADER = b"PK\x03\x04"  # before each member; its flags are 6 bytes further
_HEAD_BYTES = 1 << 16


def unpack_hint(files: Iterable[Path], *, where: str = "'-o*'") -> str:
    """Which archives there are and what to type; empty if there are none.

    Args:
      files: paths of any kind.
      where: option of 7-Zip for the place. By default each archive gets a folder of its own: the
        members of several may have the same names, as AUTSL's ground_truth.csv.
    """
    parts_of: dict[Path, list[str]] = defaultdict(list)
    for path in sorted(files):
        if match := _ARCHIVE.fullmatch(path.name):
            parts_of[path.with_name(match["name"])].append(match["part"] or "")
    if not parts_of:
        return ""
    lines = [f"{len(parts_of)} archive(s) lie there. If they are not unpacked yet, type:"]
    by_place: dict[tuple[Path, str], list[str]] = defaultdict(list)
    for archive, parts in parts_of.items():
        lines += _problems(archive, parts)
        suffix = archive.suffix + ".001" * all(parts)
        by_place[archive.parent, suffix].append(archive.stem)
    for (folder, suffix), names in by_place.items():
        # Not a list of names, which 7-Zip would take for members of the first.
        what = f"*{suffix}" if len(names) > 1 else names[0] + suffix
        lines.append(f"  cd {shlex.quote(str(folder))} && {_command(what, where)}".rstrip())
    if any("7z x" in line for line in lines):
        lines.append("7z is 7-Zip, of the package 7zip or p7zip-full; some call it 7zz.")
    return "\n".join(lines)


def _command(what: str, where: str) -> str:
    """Unpacks an archive, or all that a pattern matches."""
    if not _TAR.search(what):
        return f"7z x {shlex.quote(what)} {where}"
    if "*" not in what:
        return f"tar -xf {shlex.quote(what)}"
    return f'for archive in {what}; do tar -xf "$archive"; done'


def _problems(archive: Path, parts: Sequence[str]) -> list[str]:
    """What else one has to know to unpack it: parts, password, archives within."""
    told = []
    first = archive
    if all(parts):
        first = archive.with_name(f"{archive.name}.{parts[0]}")
        numbers = {int(part) for part in parts}
        told.append(f"{len(parts)} parts, unpacked together by naming .001")
        if absent := sorted({*range(1, max(numbers) + 1)} - numbers):
            told.append(f"without part {', '.join(f'.{n:03}' for n in absent)}: get it first")
    if _is_encrypted(first):
        told.append("with a password, that 7z asks for and the dataset's authors give")
    if inner := _archives_inside(first):
        told.append(f"holds archives itself, such as {inner[0]}: unpack these too")
    return [f"  {archive.name}: {fact}" for fact in told]


def _is_encrypted(path: Path) -> bool:
    """Whether a zip file, or the first part of one, has a member that needs a password."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(member.flag_bits & _ENCRYPTED for member in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        pass  # of a part, the list of members is in the last one
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    places = (match.start() + 6 for match in re.finditer(re.escape(_LOCAL_HEADER), head))
    return any(head[place : place + 1] and head[place] & _ENCRYPTED for place in places)


def _archives_inside(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(name for name in archive.namelist() if _ARCHIVE.fullmatch(name))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return []
