#!/usr/bin/env python3
"""Export a trained model as a folder that runs without MindSpore, and measure how far it is from the original."""

import sys

from lightclip_ms.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
