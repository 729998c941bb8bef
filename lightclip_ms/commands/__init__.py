"""The command lines: what scripts/ and `python -m lightclip_ms.ROOM` start. Nothing else imports from here."""
