"""From the wells of a plate to concentrations with intervals. Knows no file and no store."""
