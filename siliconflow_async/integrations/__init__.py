"""What joins this library to others: one file and one extra each, and nothing of the core imports them."""
