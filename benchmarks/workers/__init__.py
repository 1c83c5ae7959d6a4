"""Programs that run in the environments of the tools: they know the standard library and their tool."""
