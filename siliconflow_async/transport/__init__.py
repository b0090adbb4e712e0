"""The wire on aiohttp: sessions, one request, its body, its clocks, and the mapping of what goes wrong."""
