"""What the other endpoints send back, one in each module: structs, and what decodes them."""
