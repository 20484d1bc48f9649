"""Platform templates: one folder each, copied into generated projects."""
