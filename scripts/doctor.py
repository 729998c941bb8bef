#!/usr/bin/env python3
"""Check this machine before a run: --help."""

import sys

from lightclip_ms.commands.doctor import main

if __name__ == "__main__":
    sys.exit(main())
