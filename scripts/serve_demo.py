#!/usr/bin/env python3
"""Serve the page that runs a model in the browser: see --help."""

import sys

from lightclip_ms.commands.serve_demo import main

if __name__ == "__main__":
    sys.exit(main())
