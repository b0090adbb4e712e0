"""What is asked: parameters, pictures and sounds, forms of answers, tools, and how they become what is sent."""
