"""How a tool ends when it cannot do what it was asked: one line for the user, and an exit code."""


class Stop(Exception):
    """Its text is the line. Not raised itself."""


class Failed(Stop):
    """What was looked at is not as it should be, or a program that was run failed."""
    exit_code = 1


class BadInput(Stop):
    """Something is wrong with an argument, or with a file that one names."""
    exit_code = 2


class NotHere(Stop):
    """This machine lacks a GPU, or a program."""
    exit_code = 3
