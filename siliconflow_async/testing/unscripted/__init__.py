"""What the stand-in answers by itself, endpoint by endpoint, where nothing is scripted."""
