"""`python -m lightclip_ms.web`: see commands/serve_demo.py."""

import sys

from lightclip_ms.commands.serve_demo import main

sys.argv[0] = "python -m lightclip_ms.web"  # as --help and results name the command
sys.exit(main())
