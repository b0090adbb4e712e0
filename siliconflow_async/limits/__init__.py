"""Rate limits: how many requests and tokens a model may take in a minute, and how many calls at a time it bears."""
