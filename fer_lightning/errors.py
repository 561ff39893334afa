"""The one exception that stands for a user's mistake, as opposed to a failure of ours."""


class UserError(Exception):
    """Bad input or configuration.

    Its message is all that the user sees: it names the file or key, the line and column where there is one, what is
    wrong and what would be right. Commands print it without a traceback and exit with status 2.
    """
