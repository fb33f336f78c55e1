"""The one exception that a user is meant to see."""


class UserError(Exception):
    """Wrong input, told in one line: what it is, what is wrong with it, what to do.

    The command line prints the line and ends with `exit_code`: 2 for a wrong declaration or option, 1 for the rest.
    """

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(" ".join(str(message).split()))
        self.exit_code = exit_code
