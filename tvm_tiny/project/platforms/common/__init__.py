"""Sources and server code that all platforms share; copied into generated projects."""
