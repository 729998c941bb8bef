"""How scripts end: one line for a mistake of the user's, a trace only for a mistake of ours."""

import functools
import sys

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL: stopped on request and saved; the same command goes on
ERROR_PREFIX = "error: "
STOPPED_PREFIX = "stopped on request"


def main_guard(main):
    """Decorate a script's `main`: `ValueError` and `OSError` become one line on stderr and exit code 2."""

    @functools.wraps(main)
    def guarded(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except (ValueError, OSError) as error:
            print(f"{ERROR_PREFIX}{' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(EXIT_BAD_INPUT)

    return guarded
