"""`make soak`: load and faults against the site as it is served, each trial with the mark it has to meet."""
