"""What is known of a compiled model, for people and for scripts: drawings, reports, comparisons."""
