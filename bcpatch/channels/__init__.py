"""Where a running process receives requests from, and how others reach it.

A channel is given a handler, a function from request to reply. It knows nothing of
patches, generations or the runtime behind the handler.
"""
