#!/usr/bin/env python3
"""Train a LightCLIP: --config demo [key=value ...]"""

import sys

from lightclip_ms.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
