"""``bcpatch run``: starting an application and following its sources."""
