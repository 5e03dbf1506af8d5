"""What a host says: one module a subject, from a Capture to frozen values."""
