"""The only place that parses foreign files."""
