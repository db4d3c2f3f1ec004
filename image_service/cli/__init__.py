"""Commands: parse, call, print. No rule of the domain lives here."""

import sys

# Ctrl-C ends a command without a word, also while it imports what it needs. The process then ends as of the signal itself.
sys.excepthook = lambda kind, *error: None if kind is KeyboardInterrupt else sys.__excepthook__(kind, *error)
