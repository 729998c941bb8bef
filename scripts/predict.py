#!/usr/bin/env python3
"""Ask a model about pictures: which of --texts fits each, which pictures fit --retrieve, or just their --embeddings."""

from lightclip_ms.commands.predict import main

if __name__ == "__main__":
    main()
