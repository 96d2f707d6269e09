"""Archives among the files of a dataset, and the commands that unpack them."""

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
_ENCRYPTED = 1  # flag of a zip member
_LOCAL_HEADER = b"PK\x03\x04"  # before each member; flags follow after 6 bytes
_HEAD_BYTES = 1 << 16


def unpack_hint(files: Iterable[Path], *, where: str = "'-o*'") -> str:
    """Commands that unpack the archives among `files`; empty if there are none.

    Args:
        files: Paths of any kind.
        where: Option of 7-Zip for the target. By default each archive gets its own folder, since
            several may contain files of the same name, such as AUTSL's ground_truth.csv.
    """
    parts_of: dict[Path, list[str]] = defaultdict(list)
    for path in sorted(files):
        if match := _ARCHIVE.fullmatch(path.name):
            parts_of[path.with_name(match["name"])].append(match["part"] or "")
    if not parts_of:
        return ""
    lines = [f"{len(parts_of)} archive(s) lie there. To unpack them:"]
    by_place: dict[tuple[Path, str], list[str]] = defaultdict(list)
    for archive, parts in parts_of.items():
        lines += _problems(archive, parts)
        suffix = archive.suffix + ".001" * all(parts)
        by_place[archive.parent, suffix].append(archive.stem)
    for (folder, suffix), names in by_place.items():
        # A pattern, since 7-Zip takes further names for members of the first archive.
        pattern = f"*{suffix}" if len(names) > 1 else names[0] + suffix
        lines.append(f"  cd {shlex.quote(str(folder))} && {_command(pattern, where)}".rstrip())
    if any("7z x" in line for line in lines):
        lines.append("7z is 7-Zip (package 7zip or p7zip-full); some systems call it 7zz.")
    return "\n".join(lines)


def _command(pattern: str, where: str) -> str:
    """The command that unpacks all archives that match a pattern."""
    if not _TAR.search(pattern):
        return f"7z x {shlex.quote(pattern)} {where}"
    if "*" not in pattern:
        return f"tar -xf {shlex.quote(pattern)}"
    return f'for archive in {pattern}; do tar -xf "$archive"; done'


def _problems(archive: Path, parts: Sequence[str]) -> list[str]:
    """Facts that matter when unpacking: missing parts, a password, archives inside."""
    facts = []
    first = archive
    if all(parts):
        first = archive.with_name(f"{archive.name}.{parts[0]}")
        numbers = {int(part) for part in parts}
        facts.append(f"{len(parts)} parts, unpacked together: name .001")
        if absent := sorted({*range(1, max(numbers) + 1)} - numbers):
            facts.append(f"lacks part {', '.join(f'.{n:03}' for n in absent)}: download it first")
    if _is_encrypted(first):
        facts.append("needs a password, which the dataset's authors give")
    if inner := _archives_inside(first):
        facts.append(f"contains archives, such as {inner[0]}: unpack these too")
    return [f"  {archive.name}: {fact}" for fact in facts]


def _is_encrypted(path: Path) -> bool:
    """Whether a zip file, or the first part of one, has a member that needs a password."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(member.flag_bits & _ENCRYPTED for member in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        pass  # in several parts: the list of members is in the last one
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
