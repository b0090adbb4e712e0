"""Several calls as one thing: many requests side by side, and conversations with tools."""
