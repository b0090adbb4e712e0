"""One call over all its attempts: prepared once, let through its model's gate, sent, and sent again."""
