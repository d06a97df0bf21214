"""The laboratory's folder."""
