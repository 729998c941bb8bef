#!/usr/bin/env python3
"""The paper's Tables 1 to 3 for one checkpoint: every data set found under --data-root."""

from lightclip_ms.commands.eval_all import main

if __name__ == "__main__":
    main()
