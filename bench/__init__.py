"""`make bench`: the speed this project promises, measured side by side in one process and printed as one table."""
