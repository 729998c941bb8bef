"""`python -m lightclip_ms.export`: see commands/export.py."""

import sys

from lightclip_ms.commands.export import main

sys.argv[0] = "python -m lightclip_ms.export"  # as --help and results name the command
sys.exit(main())
