"""Videos and streams -> faces with expressions over time, kept in a table from which everything shown is rendered."""
