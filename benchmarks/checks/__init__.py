"""Checks that answer with yes or no, and can go on for hours: of the verifier, and of the swap."""
