"""`python -m lightclip_ms.model.foreign`: see commands/import_weights.py."""

import sys

from lightclip_ms.commands.import_weights import main

sys.argv[0] = "python -m lightclip_ms.model.foreign"  # as --help names the command
sys.exit(main())
