#!/usr/bin/env python3
"""Image-text retrieval by any checkpoint: recall at 1, 5 and 10 in both directions."""

from lightclip_ms.commands.eval_retrieval import main

if __name__ == "__main__":
    main()
