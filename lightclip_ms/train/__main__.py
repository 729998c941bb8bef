"""`python -m lightclip_ms.train`: see commands/train.py."""

import sys

from lightclip_ms.commands.train import main

sys.argv[0] = "python -m lightclip_ms.train"  # as --help and results name the command
sys.exit(main())
