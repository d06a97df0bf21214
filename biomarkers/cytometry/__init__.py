"""From events to frequencies of named populations. Knows no file and no store."""
