"""A module's source, before and after: what it defines, executes and imports."""
