"""From a bench file to a host that can be qualified."""
