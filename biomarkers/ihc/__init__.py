"""From tissue sections to scores. Knows no file and no store."""
