"""Small programs that are run by tests, `tests/examples`: each begins with the command that starts it."""
