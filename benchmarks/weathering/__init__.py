"""A service in bad weather: processes that can be killed and replaced, and connections that come to harm."""
