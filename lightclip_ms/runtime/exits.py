"""Exit codes and error reporting of scripts: a mistake of the user's prints one line; a traceback means a bug."""

import functools
import sys

from lightclip_ms.runtime.cluster_variables import drop_leftovers
from lightclip_ms.runtime.requirements import UnsupportedEnvironment
from lightclip_ms.runtime.streams import protect_streams

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL: stopped on request and saved; the same command resumes
EXIT_INTERRUPTED = 130  # as shells report Ctrl-C
ERROR_PREFIX = "error: "
STOPPED_PREFIX = "stopped on request"


def main_guard(main):
    """Decorate a script's `main`.

    `ValueError`, `OSError` and an unsupported environment become one line on stderr and exit code 2; Ctrl-C ends
    without a traceback. Leftover cluster variables are dropped, and standard output survives closed pipes.
    """

    @functools.wraps(main)
    def guarded(*args, **kwargs):
        try:
            protect_streams()
            drop_leftovers()
            result = main(*args, **kwargs)
            sys.stdout.flush()  # a full disk behind stdout is an error while it can still be reported
            return result
        except (ValueError, OSError, UnsupportedEnvironment) as error:
            print(f"{ERROR_PREFIX}{' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(EXIT_BAD_INPUT)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(EXIT_INTERRUPTED)

    return guarded
