"""Errors that users can fix, with the place, the expected and the actual value, and advice."""


class UserError(ValueError):
    """An error that the user can fix; its message is built from its fields.

    The message reads `WHERE: expected EXPECTED, found FOUND. ADVICE`, or `WHERE: PROBLEM. ADVICE`.

    Attributes:
        where: Config field, flag, file or other place that is wrong.
        expected: Description of valid values; empty if `problem` describes the error.
        found: The actual value, as shown in the message.
        problem: What went wrong, where it is not a mismatch of expected and found.
        advice: What to do about it, in whole sentences; may be empty.
    """

    def __init__(
        self,
        where: str,
        *,
        expected: str = "",
        found: object = "",
        problem: str = "",
        advice: str = "",
    ):
        self.where, self.expected, self.problem, self.advice = where, expected, problem, advice
        self.found = str(found)
        mismatch = f"expected {expected}, found {self.found}" if expected else ""
        parts = "; ".join(part for part in (problem, mismatch) if part)
        super().__init__(" ".join(filter(None, [f"{where}: {parts.rstrip('.')}.", advice])))

    def __reduce__(self) -> tuple:
        # Exceptions pickle as `cls(*args)`, which would drop the fields.
        return _rebuild, (type(self), self.__dict__, self.args)


def _rebuild(cls: type[UserError], fields: dict, args: tuple) -> UserError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(fields)
    error.args = args
    return error


def format_version_error(
    kind: type[UserError], where: str, expected: int, found: object
) -> UserError:
    """Error about a file of another format version; `found` is whatever the file has as one."""
    age = ""
    if isinstance(found, int):
        relation = "an older" if found < expected else "a newer"
        age = f"it is of {relation} format version"
    return kind(
        where,
        problem=age,
        expected=f"format version {expected}",
        found="none" if found is None else found,
        advice="Use the version of this project that wrote it, or write it again with this one.",
    )


class ConfigError(UserError):
    """An invalid value of a config field; `where` is the field, such as `config.seed`."""
