"""What happens around every request: request id, authentication, errors, access log."""
