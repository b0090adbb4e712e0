"""The endpoints of the service, as a client has them."""
