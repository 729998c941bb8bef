"""`python -m lightclip_ms.predict`: see commands/predict.py."""

import sys

from lightclip_ms.commands.predict import main

sys.argv[0] = "python -m lightclip_ms.predict"  # as --help and results name the command
sys.exit(main())
