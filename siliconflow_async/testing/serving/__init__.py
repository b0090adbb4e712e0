"""What the stand-in serves by: HTTP, scripts, limits, and what it remembers of requests."""
