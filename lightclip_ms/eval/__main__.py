"""`python -m lightclip_ms.eval zeroshot | retrieval | all`: see commands/eval_*.py."""

import sys
from importlib import import_module

NAMES = ("zeroshot", "retrieval", "all")

if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
    print(f"usage: python -m lightclip_ms.eval {{{','.join(NAMES)}}} ...   (each has --help)", file=sys.stderr)
    sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
name = sys.argv.pop(1)
sys.argv[0] = f"python -m lightclip_ms.eval {name}"  # as --help and results name the command
sys.exit(import_module(f"lightclip_ms.commands.eval_{name}").main())
