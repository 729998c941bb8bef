"""Zero-shot classification and retrieval: reading labelled sets, embedding, scoring, showing."""
