"""The wording of all messages, in one place: `tests/golden/messages.txt`.

No other test depends on how a message is phrased. After a change of wording, read the difference
and write the new snapshot: `python -m tests.test_messages`.
"""

import ast
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
SNAPSHOT = ROOT / "tests/golden/messages.txt"
LOGGERS = ("debug", "info", "warning", "error")


def _template(node: ast.AST) -> str:
    """A string expression with its interpolated values as `{expression}`; '' for other nodes."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}"
            if isinstance(part, ast.FormattedValue)
            else _template(part)
            for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return ""


def _is_message(node: ast.AST) -> bool:
    """Whether a call raises or logs: an error class, `logger.warning` or `parser.error`."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func).rpartition(".")
    return name[2].endswith("Error") or (
        name[0].endswith(("logger", "parser")) and name[2] in LOGGERS
    )


def messages() -> Iterator[str]:
    """Yields `file: text` for every message, in the order of the files."""
    sources = [*ROOT.glob("dstadapter_jax/**/*.py"), *ROOT.glob("tfds_builders/**/*.py")]
    for path in sorted([*sources, ROOT / "launch.py"]):
        for call in filter(_is_message, ast.walk(ast.parse(path.read_text()))):
            parts = [*call.args, *(keyword.value for keyword in call.keywords)]
            text = " | ".join(filter(None, map(_template, parts)))
            if text:
                yield f"{path.relative_to(ROOT)}: {text}".replace("\n", "\\n")


def test_messages_equal_the_snapshot():
    assert "\n".join(messages()) + "\n" == SNAPSHOT.read_text()


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(messages()) + "\n")
