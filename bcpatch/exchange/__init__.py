"""A linked patch becomes a generation: prepared, exchanged at one instant, looked at, taken back."""
