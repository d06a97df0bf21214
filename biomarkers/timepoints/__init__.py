"""Results aligned to visits, with change from baseline. Knows no file and no store."""
