"""Results as people and programs take them away: tables and pages. Knows no SQL and no method."""
