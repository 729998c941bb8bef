"""Nothing but the command `python -m lightclip_ms.predict`."""
