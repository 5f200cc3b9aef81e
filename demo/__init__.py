"""The demonstration behind `make demo`: train, serve, send traffic. Not in the distribution."""
