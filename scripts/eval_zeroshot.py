#!/usr/bin/env python3
"""Zero-shot classification of a labelled image set by any checkpoint: top-1, top-5 and mean per class."""

from lightclip_ms.commands.eval_zeroshot import main

if __name__ == "__main__":
    main()
