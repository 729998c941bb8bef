#!/usr/bin/env python3
"""Make a checkpoint to train from out of other projects' weights."""

import sys

from lightclip_ms.commands.import_weights import main

if __name__ == "__main__":
    sys.exit(main())
