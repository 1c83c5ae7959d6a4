"""The running process: what is found in it, counted, exchanged and remembered."""
