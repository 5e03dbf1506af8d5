"""What changes a host: planned first, verified after, always put back."""
