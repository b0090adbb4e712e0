"""Frameworks that ask for an openai client, each given the facade: what their users do, to the end of the connection.

Each needs its framework, and is skipped without it; they don't install side by side (see `.ci/run`).
"""
