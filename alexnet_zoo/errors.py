"""The one exception that a user is meant to see, and what it says of names."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Wrong input, told in one line: what it is, what is wrong with it, what to do.

    The command line prints the line and ends with `exit_code`: 2 for a wrong declaration or option, 1 for the rest.
    """

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(" ".join(str(message).split()))
        self.exit_code = exit_code


def names_there_are(wrong: str, names: Iterable[str]) -> str:
    """Say which names there are, in their order, for one that is not among them; before that, which may be meant."""
    names = sorted(names)
    near = get_close_matches(wrong, names, n=1)
    return f"{f'did you mean {near[0]}? ' if near else ''}there are {', '.join(names) or 'none'}"
