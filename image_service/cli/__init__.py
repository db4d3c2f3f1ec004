"""Commands: parse, call, print. No rule of the domain lives here."""
